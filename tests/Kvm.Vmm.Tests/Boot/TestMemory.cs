using System.Runtime.InteropServices;
using Kvm.Devices.Memory;

namespace Kvm.Vmm.Tests.Boot;

/// <summary>Guest memory for tests: zeroed, laid out as <see cref="MachineLayout"/> says, given back when disposed.</summary>
internal sealed unsafe class TestMemory : IDisposable
{
    private const int Canary = 4096;
    private const byte CanaryByte = 0xa5;

    private readonly List<nint> _blocks = [];

    public TestMemory(ulong size)
    {
        Layout = new MachineLayout(size);
        var regions = new List<GuestRegion>();
        foreach (var ram in Layout.Ram)
        {
            nint block = (nint)NativeMemory.AllocZeroed((nuint)ram.Size + (2 * Canary));
            _blocks.Add(block);
            regions.Add(new GuestRegion(ram.Start, ram.Size, block + Canary));
            foreach (var around in Around(regions[^1]))
                Guard(around).Fill(CanaryByte);
        }

        Memory = new GuestMemory(regions);
    }

    public MachineLayout Layout { get; }

    public GuestMemory Memory { get; }

    /// <summary>Fails if a byte before or behind guest memory was written.</summary>
    public void CheckCanaries()
    {
        foreach (var region in Memory.Regions)
        {
            foreach (nint around in Around(region))
                Guard(around).IndexOfAnyExcept(CanaryByte).Should().Be(-1, "nothing is written outside guest memory");
        }
    }

    private static nint[] Around(GuestRegion region) => [region.Host - Canary, region.Host + (nint)region.Size];

    private static Span<byte> Guard(nint at) => new((void*)at, Canary);

    public byte[] Bytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Memory.TryRead(address, bytes).Should().BeTrue($"0x{address:x}+{length} is RAM");
        return bytes;
    }

    public byte U8(ulong address) => Bytes(address, 1)[0];

    public ushort U16(ulong address) => BitConverter.ToUInt16(Bytes(address, 2));

    public uint U32(ulong address) => BitConverter.ToUInt32(Bytes(address, 4));

    public ulong U64(ulong address) => BitConverter.ToUInt64(Bytes(address, 8));

    public string Text(ulong address, int longest = 70_000)
    {
        byte[] bytes = Bytes(address, longest);
        return System.Text.Encoding.UTF8.GetString(bytes, 0, Array.IndexOf(bytes, (byte)0));
    }

    public void Dispose()
    {
        foreach (nint block in _blocks)
            NativeMemory.Free((void*)block);
    }
}
