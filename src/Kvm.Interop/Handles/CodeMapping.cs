namespace Kvm.Interop;

/// <summary>
/// Memory for code made at run time: the same pages mapped twice, once to be written and once to be run, so that no page is ever
/// both and nothing has to be remapped. Zeroed; unmapped on disposal.
/// </summary>
public sealed unsafe class CodeMapping : IDisposable
{
    private readonly MappingHandle _writable;
    private readonly MappingHandle _executable;

    private CodeMapping(MappingHandle writable, MappingHandle executable, int length)
    {
        _writable = writable;
        _executable = executable;
        Length = length;
    }

    /// <summary>Bytes of each view.</summary>
    public int Length { get; }

    /// <summary>First byte of the view that can be read and written, never run.</summary>
    public nint Writable => _writable.Address;

    /// <summary>First byte of the view that can be read and run, never written.</summary>
    public nint Executable => _executable.Address;

    /// <summary>Maps the two views.</summary>
    /// <param name="length">Bytes, a positive multiple of the page size.</param>
    /// <exception cref="KvmException">The host allows no executable shared memory (sysctl vm.memfd_noexec, SELinux), or has too little.</exception>
    public static CodeMapping Create(int length)
    {
        if (length <= 0 || length % Environment.SystemPageSize != 0)
        {
            throw new ArgumentOutOfRangeException(nameof(length), length, "not a positive multiple of the page size");
        }

        using FdHandle file = Open();
        if (Libc.ftruncate(file.Fd, length) != 0)
        {
            throw new KvmException("ftruncate (code)", Errno.Last);
        }

        MappingHandle writable = MappingHandle.Map((nuint)length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, file.Fd, 0, "code, to be written");
        try
        {
            MappingHandle executable = MappingHandle.Map((nuint)length, Libc.PROT_READ | Libc.PROT_EXEC, Libc.MAP_SHARED, file.Fd, 0, "code, to be run");
            return new CodeMapping(writable, executable, length);
        }
        catch
        {
            writable.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _executable.Dispose();
        _writable.Dispose();
    }

    private static FdHandle Open()
    {
        fixed (byte* name = "kvmsharp-code\0"u8)
        {
            // Linux 6.3 wants to be told that the file may be executable; older ones do not know the flag.
            int fd = Libc.memfd_create(name, Libc.MFD_CLOEXEC | Libc.MFD_EXEC);
            if (fd < 0 && Errno.Last == Errno.EINVAL)
            {
                fd = Libc.memfd_create(name, Libc.MFD_CLOEXEC);
            }

            return fd >= 0 ? new FdHandle(fd) : throw new KvmException("memfd_create (code)", Errno.Last);
        }
    }
}
