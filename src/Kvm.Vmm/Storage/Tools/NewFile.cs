using Kvm.Devices.Virtio.Block;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>
/// A file that is being made: under another name beside its own until it is whole, so that nobody ever finds half of it, and gone if it is
/// not finished. What it replaces is locked meanwhile.
/// </summary>
internal sealed class NewFile : IDisposable
{
    private readonly string _path;
    private readonly HostFile? _replaced;
    private bool _finished;

    private NewFile(string path, HostFile? replaced)
    {
        (_path, _replaced) = (path, replaced);
        Part = Path.Combine(Path.GetDirectoryName(path) ?? "/", $".{Path.GetFileName(path)}.{Environment.ProcessId}.part");
    }

    /// <summary>The name it has until it is finished.</summary>
    public string Part { get; }

    /// <summary>Begins a file.</summary>
    /// <param name="path">Its name.</param>
    /// <param name="force">A file of that name is replaced.</param>
    /// <param name="inputs">What it may not be.</param>
    /// <exception cref="VmmException">It cannot be made.</exception>
    public static NewFile Begin(string path, bool force, params ReadOnlySpan<HostFile> inputs)
    {
        string name = VisibleText.Quote(path);
        HostFile? replaced = null;
        try
        {
            // What a symbolic link leads to is made, or replaced, not the link.
            path = Path.GetFullPath((new FileInfo(path).LinkTarget is null ? null : File.ResolveLinkTarget(path, returnFinalTarget: true))?.FullName ?? path);
            if (Path.Exists(path))
            {
                ThrowIfOneOf(path, name, inputs);
                if (!force || !DiskFile.IsRegularFile(path))
                    throw new VmmException(DiskToolErrors.OutputExists, force ? $"{name} is no regular file" : name);
                replaced = HostFile.OpenNew(path);
            }

            var file = new NewFile(path, replaced);
            new FileStream(file.Part, FileMode.CreateNew, FileAccess.Write).Dispose();
            return file;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            replaced?.Dispose();
            throw new VmmException(DiskToolErrors.WriteFailed, $"{name}: {HostFailureText.Of(e)}", e);
        }
    }

    /// <summary>Opens the file, of a length; its tables need not reach the storage one by one, as nothing of it counts before it is finished.</summary>
    public HostFile Open(ulong length = 0)
    {
        try
        {
            using var file = File.OpenHandle(Part, FileMode.Open, FileAccess.Write);
            RandomAccess.SetLength(file, checked((long)length));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or OverflowException or ArgumentException)
        {
            throw new VmmException(DiskToolErrors.WriteFailed, $"{VisibleText.Quote(_path)}: {HostFailureText.Of(e)}", e);
        }

        return HostFile.OpenNew(Part, DiskCache.Unsafe);
    }

    /// <summary>Gives it its name. It is closed, or is not written any more.</summary>
    public void Finish()
    {
        try
        {
            // As root a rename would replace a device's node as readily: what is there now is looked at once more.
            if (_replaced is not null && !DiskFile.IsRegularFile(_path))
                throw new VmmException(DiskToolErrors.OutputExists, $"{VisibleText.Quote(_path)} is no regular file any more");
            File.Move(Part, _path, overwrite: _replaced is not null);
            _finished = true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(File.Exists(_path) && _replaced is null ? DiskToolErrors.OutputExists : DiskToolErrors.WriteFailed,
                $"{VisibleText.Quote(_path)}: {HostFailureText.Of(e)}", e);
        }
    }

    /// <summary>Removes what is not finished.</summary>
    public void Dispose()
    {
        _replaced?.Dispose();
        if (_finished)
            return;
        try
        {
            File.Delete(Part);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The folder has gone, or may not be written any more: there is nobody to tell, the error that led here is on its way.
        }
    }

    private static void ThrowIfOneOf(string path, string name, ReadOnlySpan<HostFile> inputs)
    {
        FileIdentity identity;
        try
        {
            using var there = DiskFile.Open(path, readOnly: true, direct: false);
            identity = there.Identity;
        }
        catch (KvmException)
        {
            return; // a folder, a pipe, or not ours to read: none of the inputs
        }

        foreach (var input in inputs)
        {
            if (input.Identity == identity)
                throw new VmmException(DiskToolErrors.SameFile, name);
        }
    }
}
