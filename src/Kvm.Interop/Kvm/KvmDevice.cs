namespace Kvm.Interop;

/// <summary>An in-kernel device made by <see cref="KvmVm.CreateDevice"/>; everything it does are attributes (<see cref="KvmFile.SetAttribute{T}"/>).</summary>
public sealed class KvmDevice : KvmFile
{
    internal KvmDevice(FdHandle handle)
        : base(handle)
    {
    }
}
