using System.Buffers.Binary;
using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Agent;

/// <summary>
/// Puts what a guest sends into a folder of the host's. The guest may lie: names are single ones, folders are entered by descriptor and never by a link, so nothing is made elsewhere; set-user-id bits are
/// left out; the copy's own name is the user's. Used once.
/// </summary>
/// <param name="link">The connection, on which a copy was asked for.</param>
/// <param name="deep">Folders with all that is in them.</param>
internal sealed class TreeReceiver(AgentLink link, bool deep)
{
    private const uint Permissions = 0x1ff;

    private readonly Stack<(FolderHandle Folder, FolderEntry Entry)> _inside = new();
    private readonly List<string> _skipped = [];
    private FdHandle? _file;
    private FolderEntry _entry;
    private FolderHandle? _parent;
    private byte[] _name = [];
    private bool _isRegular;

    /// <summary>What the guest did not send: devices, sockets, pipes, what may not be read.</summary>
    public IReadOnlyList<string> Skipped => _skipped;

    /// <summary>Receives all of it; half a file is removed where the rest does not come.</summary>
    public async Task ReceiveAsync(HostPath target, CancellationToken cancel)
    {
        bool hasBegun = false;
        try
        {
            while (true)
            {
                var (kind, payload) = await link.ReceiveAsync(cancel).ConfigureAwait(false);
                if (kind == AgentFrame.Failed)
                    throw AgentProtocol.Failure(payload.Span, AgentErrors.GuestFile);
                if (kind == AgentFrame.TreeEnd && hasBegun && _inside.Count == 0 && _file is null)
                    return;
                if (kind == AgentFrame.Node && (_inside.Count > 0 || !hasBegun))
                    Begin(payload, hasBegun ? null : target);
                else if (!hasBegun || !Take(kind, payload.Span))
                    throw AgentException.Bad($"a copy has a frame of kind {(byte)kind} where it has no place");
                hasBegun = true;
            }
        }
        finally
        {
            Abandon();
        }
    }

    private void Begin(ReadOnlyMemory<byte> payload, HostPath? top)
    {
        if (_file is not null || AgentNode.Parse(payload) is not { } node)
            throw AgentException.Bad("a copy has something in it whose name leads out of it, or which is nothing that can be copied");
        if (top is not null && node.Entry.Kind == FolderEntryKind.Link)
            throw AgentException.Bad("a copy is a link");
        var parent = top?.Folder ?? _inside.Peek().Folder;
        byte[] name = top?.Name ?? node.Name.ToArray();
        switch (node.Entry.Kind)
        {
            case FolderEntryKind.File:
                Create(parent, name, node.Entry, follow: top is not null);
                break;
            case FolderEntryKind.Folder:
                Enter(parent, name, node.Entry);
                break;
            default:
                Check(name, MakeLink(parent, name, node.Target.Span));
                break;
        }
    }

    private bool Take(AgentFrame kind, ReadOnlySpan<byte> payload)
    {
        switch (kind)
        {
            case AgentFrame.Data when _file is not null:
                Write(payload);
                return true;
            case AgentFrame.FileEnd when _file is not null && payload.Length == sizeof(uint):
                Finish(BinaryPrimitives.ReadUInt32LittleEndian(payload));
                return true;
            case AgentFrame.FolderEnd when _file is null && _inside.Count > 0:
                var (folder, entry) = _inside.Pop();
                using (folder)
                    Keep(folder.Handle, entry);
                return true;
            case AgentFrame.Skipped when payload.Length >= 8:
                if (_skipped.Count < TreeSender.MostSkipped)
                    _skipped.Add(AgentProtocol.Failure(payload, AgentErrors.GuestFile).Message);
                return true;
            default:
                return false;
        }
    }

    private void Enter(FolderHandle parent, byte[] name, FolderEntry entry)
    {
        if (!deep || _inside.Count >= TreeSender.Deepest)
            throw AgentException.Bad(deep ? $"a copy has folders deeper than {TreeSender.Deepest}" : "a copy of a file is a folder");
        if (parent.TryMakeFolder(name) is var error and not (0 or -Errno.EEXIST))
            Check(name, error);
        Check(name, parent.TryEnter(name, out var folder));
        _inside.Push((folder!, entry));
    }

    private void Create(FolderHandle parent, byte[] name, FolderEntry entry, bool follow)
    {
        Check(name, parent.TryCreateFile(name, follow, out var file));
        (_file, _entry, _parent, _name) = (file, entry, parent, name);
        _isRegular = FolderHandle.TryLookAt(file!, out var there) == 0 && there.Kind == FolderEntryKind.File;
        if (_isRegular)
            Check(name, FolderHandle.TryEmpty(file!));
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int count = Descriptor.Write(_file!.Fd, bytes);
            Check(_name, Math.Min(count, 0));
            bytes = bytes[count..];
        }
    }

    private void Finish(uint error)
    {
        if (error != 0)
            throw new AgentException(AgentErrors.GuestFile, $"{VisibleText.Quote(Encoding.UTF8.GetString(_name), 200)}: {Errno.TextOf((int)Math.Min(error, int.MaxValue))}") { GuestErrno = (int)Math.Min(error, int.MaxValue) };
        if (_isRegular)
            Keep(_file!, _entry);
        _file!.Dispose();
        _file = null;
    }

    /// <summary>As far as it may be: what was there before and is somebody else's keeps its permissions.</summary>
    private static void Keep(FdHandle file, FolderEntry entry) => _ = FolderHandle.TryKeep(file, entry.Mode & Permissions, entry.Seconds, entry.Nanoseconds);

    private static int MakeLink(FolderHandle parent, byte[] name, ReadOnlySpan<byte> target)
    {
        int error = parent.TryMakeLink(name, target);
        return error == -Errno.EEXIST && parent.TryRemove(name) == 0 ? parent.TryMakeLink(name, target) : error;
    }

    private void Abandon()
    {
        if (_file is not null && _isRegular)
            _ = _parent!.TryRemove(_name);
        _file?.Dispose();
        while (_inside.TryPop(out var inside))
            inside.Folder.Dispose();
    }

    private static void Check(byte[] name, int error)
    {
        if (error != 0)
            throw HostPath.Error(name, error);
    }
}
