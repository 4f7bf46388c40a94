using System.Runtime.InteropServices;
using Kvm.Devices.Memory;

namespace Kvm.X86.Tests.Hostile;

/// <summary>
/// One megabyte of guest memory and 64 KiB of ROM behind it, on the host between pages nobody may touch: an access outside ends the
/// process, and the journal says which case it was.
/// </summary>
internal sealed unsafe partial class FencedMemory : IDisposable
{
    public const int Size = 1 << 20, RomSize = 1 << 16;
    private const int Fence = 1 << 20;
    private readonly byte* _host;

    public FencedMemory()
    {
        _host = (byte*)mmap(0, Size + RomSize + (3 * Fence), 0, 0x22, -1, 0);
        ((nint)_host).Should().NotBe(-1);
        mprotect((nint)Ram, Size, 3).Should().Be(0);
        mprotect((nint)Rom, RomSize, 3).Should().Be(0);
        Memory = new GuestMemory([new GuestRegion(0, Size, (nint)Ram), new GuestRegion(Size, RomSize, (nint)Rom, ReadOnly: true)]);
    }

    public GuestMemory Memory { get; }

    public byte* Ram => _host + Fence;

    public Span<byte> Bytes => new(Ram, Size);

    public Span<byte> RomBytes => new(Rom, RomSize);

    private byte* Rom => _host + (2 * Fence) + Size;

    public void Dispose() => _ = munmap((nint)_host, Size + RomSize + (3 * Fence));

    [LibraryImport("libc")]
    private static partial nint mmap(nint address, nuint length, int protection, int flags, int fd, nint offset);

    [LibraryImport("libc")]
    private static partial int mprotect(nint address, nuint length, int protection);

    [LibraryImport("libc")]
    private static partial int munmap(nint address, nuint length);
}
