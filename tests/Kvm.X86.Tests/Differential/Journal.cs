using System.IO.MemoryMappedFiles;

namespace Kvm.X86.Tests.Programs;

/// <summary>A small file in memory: what was written last survives the end of the process by a signal.</summary>
internal sealed class Journal : IDisposable
{
    private const int Size = 4096;

    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;

    private Journal(string path)
    {
        _file = MemoryMappedFile.CreateFromFile(path, FileMode.Create, null, Size);
        _view = _file.CreateViewAccessor();
    }

    /// <summary>Null where there is no path.</summary>
    public static Journal? TryCreate(string? path) => string.IsNullOrEmpty(path) ? null : new Journal(path);

    public void Write(long offset, byte[] bytes) => _view.WriteArray(offset, bytes, 0, Math.Min(bytes.Length, Size));

    public void Dispose()
    {
        _view.Dispose();
        _file.Dispose();
    }
}
