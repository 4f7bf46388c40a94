using System.Runtime.InteropServices;

namespace Kvm.Devices.Tests.Support;

/// <summary>Zeroed host memory for a guest region, freed at the end of the test.</summary>
internal sealed class HostMemory : IDisposable
{
    public HostMemory(int size)
    {
        Address = Marshal.AllocHGlobal(size);
        Marshal.Copy(new byte[size], 0, Address, size);
    }

    public nint Address { get; }

    public void Dispose() => Marshal.FreeHGlobal(Address);
}
