using System.Runtime.InteropServices;
using Kvm.Devices.Memory;

namespace Kvm.X86.Tests.Interrupts;

/// <summary>A little guest memory at address 0.</summary>
internal sealed class TestMemory : IDisposable
{
    private readonly nint _host;

    public TestMemory(int size = 0x4000)
    {
        _host = Marshal.AllocHGlobal(size);
        Memory = new GuestMemory([new GuestRegion(0, (ulong)size, _host)]);
        Memory.TrySlice(0, size, out var all);
        all.Clear();
    }

    public GuestMemory Memory { get; }

    public T Read<T>(ulong address) where T : unmanaged
    {
        Memory.TryRead(address, out T value).Should().BeTrue();
        return value;
    }

    public void Dispose() => Marshal.FreeHGlobal(_host);
}
