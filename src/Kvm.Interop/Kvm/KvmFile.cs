using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>A file descriptor that speaks KVM's ioctls: the system, a VM, a vCPU or a device.</summary>
public abstract unsafe class KvmFile : IDisposable
{
    private readonly FdHandle _handle;

    private protected KvmFile(FdHandle handle)
    {
        _handle = handle;
    }

    /// <summary>The descriptor's owner; closed by <see cref="Dispose()"/>.</summary>
    public FdHandle Handle => _handle;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the descriptor. KVM keeps a VM alive while one of its vCPUs or devices is open.</summary>
    protected virtual void Dispose(bool disposing)
    {
        if (disposing)
        {
            _handle.Dispose();
        }
    }

    /// <summary>Whether this descriptor has the attribute (KVM_HAS_DEVICE_ATTR).</summary>
    public bool HasAttribute(uint group, ulong attribute)
    {
        KvmDeviceAttr request = new() { Group = group, Attr = attribute };
        return TryIoctl(KvmIoctl.KVM_HAS_DEVICE_ATTR, &request) == 0;
    }

    /// <summary>Reads an attribute (KVM_GET_DEVICE_ATTR). Throws <see cref="KvmException"/> where it does not exist (ENXIO).</summary>
    /// <typeparam name="T">The attribute's C type.</typeparam>
    public T GetAttribute<T>(uint group, ulong attribute)
        where T : unmanaged
    {
        T value = default;
        KvmDeviceAttr request = new() { Group = group, Attr = attribute, Addr = (ulong)&value };
        Ioctl(KvmIoctl.KVM_GET_DEVICE_ATTR, &request);
        return value;
    }

    /// <summary>Sets an attribute (KVM_SET_DEVICE_ATTR). Throws <see cref="KvmException"/> where it does not exist or the value is refused.</summary>
    /// <typeparam name="T">The attribute's C type.</typeparam>
    public void SetAttribute<T>(uint group, ulong attribute, T value)
        where T : unmanaged
    {
        KvmDeviceAttr request = new() { Group = group, Attr = attribute, Addr = (ulong)&value };
        Ioctl(KvmIoctl.KVM_SET_DEVICE_ATTR, &request);
    }

    /// <summary>Calls and returns the result, or -errno. Repeats a call a signal interrupted: the runtime's own signals may hit any of them.</summary>
    private protected int TryIoctl(uint request, nuint argument)
    {
        int fd = _handle.Fd;
        while (true)
        {
            int result = Libc.ioctl(fd, request, argument);
            if (result >= 0)
            {
                GC.KeepAlive(_handle);
                return result;
            }

            int errno = Errno.Last;
            if (errno != Errno.EINTR)
            {
                GC.KeepAlive(_handle);
                return -errno;
            }
        }
    }

    private protected int TryIoctl(uint request, void* argument) => TryIoctl(request, (nuint)argument);

    /// <summary>Calls and returns the result, or throws with the name of the ioctl, which the compiler takes from the argument's text.</summary>
    private protected int Ioctl(uint request, nuint argument, [CallerArgumentExpression(nameof(request))] string name = "")
    {
        int result = TryIoctl(request, argument);
        if (result < 0)
        {
            Throw(name, -result);
        }

        return result;
    }

    private protected int Ioctl(uint request, void* argument, [CallerArgumentExpression(nameof(request))] string name = "") =>
        Ioctl(request, (nuint)argument, name);

    /// <summary>Reads a structure of fixed size.</summary>
    private protected T Read<T>(uint request, [CallerArgumentExpression(nameof(request))] string name = "")
        where T : unmanaged
    {
        T value = default;
        Ioctl(request, &value, name);
        return value;
    }

    /// <summary>Hands a structure of fixed size to the kernel.</summary>
    private protected void Write<T>(uint request, in T value, [CallerArgumentExpression(nameof(request))] string name = "")
        where T : unmanaged
    {
        fixed (T* p = &value)
        {
            Ioctl(request, p, name);
        }
    }

    /// <summary>Switches a capability on (KVM_ENABLE_CAP); up to four arguments. Throws <see cref="KvmException"/> where it is refused.</summary>
    private protected void EnableCapability(KvmCap cap, ReadOnlySpan<ulong> args)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(args.Length, 4, nameof(args));
        KvmEnableCap request = new() { Cap = (uint)cap };
        args.CopyTo(request.Args);
        int result = TryIoctl(KvmIoctl.KVM_ENABLE_CAP, &request);
        if (result < 0)
        {
            throw new KvmException($"KVM_ENABLE_CAP({KvmCaps.NameOf(cap)})", -result);
        }
    }

    /// <summary>Asks for a list whose length only the kernel knows, growing the buffer while it says E2BIG.</summary>
    private protected KvmCpuidEntry2[] ReadCpuid(uint request, [CallerArgumentExpression(nameof(request))] string name = "")
    {
        // KVM_MAX_CPUID_ENTRIES is 256 in current kernels and was 100 and 80 before: asking for more than it has is not an error.
        for (int capacity = 256; ; capacity *= 2)
        {
            using VariableStruct buffer = new(sizeof(KvmCpuid2), sizeof(KvmCpuidEntry2), capacity);
            KvmCpuid2* header = (KvmCpuid2*)buffer.Pointer;
            header->Nent = (uint)capacity;
            int result = TryIoctl(request, header);
            if (result >= 0)
            {
                int count = (int)Math.Min(header->Nent, (uint)capacity);
                return new ReadOnlySpan<KvmCpuidEntry2>(header + 1, count).ToArray();
            }

            if (result != -Errno.E2BIG || capacity > 4096)
            {
                Throw(name, -result);
            }
        }
    }

    /// <summary>Reads the MSRs named by the entries; returns how many were read before the first the kernel refused.</summary>
    private protected int ReadMsrs(Span<KvmMsrEntry> entries)
    {
        using VariableStruct buffer = new(sizeof(KvmMsrs), sizeof(KvmMsrEntry), entries.Length);
        KvmMsrs* header = (KvmMsrs*)buffer.Pointer;
        header->Nmsrs = (uint)entries.Length;
        Span<KvmMsrEntry> native = new(header + 1, entries.Length);
        entries.CopyTo(native);
        int done = Ioctl(KvmIoctl.KVM_GET_MSRS, header);
        native[..done].CopyTo(entries);
        return done;
    }

    private static void Throw(string expression, int errno) =>
        throw new KvmException(expression[(expression.LastIndexOf('.') + 1)..], errno);
}

/// <summary>A zeroed native buffer for a C structure that ends in an array.</summary>
internal readonly unsafe ref struct VariableStruct
{
    /// <summary>More than any list KVM knows; a count over it is a mistake of the caller.</summary>
    public const int MaxItems = 65536;

    public VariableStruct(int header, int item, int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, MaxItems);
        Pointer = NativeMemory.AllocZeroed((nuint)header + ((nuint)item * (nuint)count));
    }

    public void* Pointer { get; }

    public void Dispose() => NativeMemory.Free(Pointer);
}
