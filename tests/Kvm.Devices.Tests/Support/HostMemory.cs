using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;

namespace Kvm.Devices.Tests.Support;

/// <summary>Zeroed host memory for a guest region, freed at the end of the test.</summary>
internal sealed class HostMemory : IDisposable
{
    private const int Large = 16 << 20;

    private readonly MemoryMappedViewAccessor? _view;

    public HostMemory(int size)
    {
        if (size > Large)
        {
            // Given page by page as it is touched, which most of it never is.
            using var file = MemoryMappedFile.CreateNew(null, size);
            _view = file.CreateViewAccessor(0, size);
            Address = _view.SafeMemoryMappedViewHandle.DangerousGetHandle();
            return;
        }

        Address = Marshal.AllocHGlobal(size);
        Marshal.Copy(new byte[size], 0, Address, size);
    }

    public nint Address { get; }

    public void Dispose()
    {
        if (_view is not null)
            _view.Dispose();
        else
            Marshal.FreeHGlobal(Address);
    }
}
