using System.Runtime.InteropServices;
using Kvm.X86.Translate;

namespace Kvm.X86.Tests.Translate;

/// <summary>Memory for translated code as the product's host layer makes it: a memfd mapped twice.</summary>
internal sealed partial class TestCodeMemory : ICodeMemory
{
    private TestCodeMemory(nint writable, nint executable, int length) => (Writable, Executable, Length) = (writable, executable, length);

    public nint Writable { get; }

    public nint Executable { get; }

    public int Length { get; }

    public bool IsDisposed { get; private set; }

    /// <summary>Why this host cannot run translated code, or null.</summary>
    public static string? Unavailable => RuntimeInformation.ProcessArchitecture == Architecture.X64 ? null : "the host is not x86-64";

    public static TestCodeMemory Create(int length = 4 << 20)
    {
        int fd = memfd_create("kvmsharp-test", 1);
        fd.Should().BeGreaterThanOrEqualTo(0);
        ftruncate(fd, length).Should().Be(0);
        nint writable = mmap(0, (nuint)length, 3, 1, fd, 0), executable = mmap(0, (nuint)length, 5, 1, fd, 0);
        _ = close(fd);
        writable.Should().NotBe(-1);
        executable.Should().NotBe(-1);
        return new TestCodeMemory(writable, executable, length);
    }

    public void Dispose()
    {
        if (IsDisposed)
            return;
        IsDisposed = true;
        _ = munmap(Writable, (nuint)Length);
        _ = munmap(Executable, (nuint)Length);
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int memfd_create(string name, uint flags);

    [LibraryImport("libc")]
    private static partial int ftruncate(int fd, long length);

    [LibraryImport("libc")]
    private static partial int close(int fd);

    [LibraryImport("libc")]
    private static partial nint mmap(nint address, nuint length, int protection, int flags, int fd, nint offset);

    [LibraryImport("libc")]
    private static partial int munmap(nint address, nuint length);
}
