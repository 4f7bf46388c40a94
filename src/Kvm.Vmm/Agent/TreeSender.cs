using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Agent;

/// <summary>Sends a file, or a folder with all that is in it, to a guest. Used once.</summary>
/// <param name="link">The connection, on which a copy was asked for.</param>
/// <param name="deep">Folders with all that is in them.</param>
internal sealed class TreeSender(AgentLink link, bool deep)
{
    private readonly byte[] _data = new byte[AgentProtocol.MostPayload];
    private readonly List<string> _skipped = [];

    /// <summary>The most names that are told of what was not copied.</summary>
    public const int MostSkipped = 1000;

    /// <summary>How deep folders go at most.</summary>
    public const int Deepest = 100;

    /// <summary>What was not copied: devices, sockets, pipes, and what may not be read.</summary>
    public IReadOnlyList<string> Skipped => _skipped;

    /// <summary>Sends it, until the guest refuses something.</summary>
    /// <param name="source">What is sent.</param>
    /// <param name="cancel">Gives up.</param>
    public async Task SendAsync(HostPath source, CancellationToken cancel)
    {
        // It answers once: when it has all, or earlier, when something fails.
        var answer = link.ReceiveAsync(cancel).AsTask();
        try
        {
            await SendTopAsync(source, answer, cancel).ConfigureAwait(false);
            if (!answer.IsCompleted)
                await link.SendAsync(AgentFrame.TreeEnd, default, cancel).ConfigureAwait(false);
        }
        catch
        {
            link.Dispose();
            _ = answer.ContinueWith(static task => _ = task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
            throw;
        }

        var (kind, payload) = await answer.ConfigureAwait(false);
        if (kind == AgentFrame.Failed)
            throw AgentProtocol.Failure(payload.Span, AgentErrors.GuestFile);
        if (kind != AgentFrame.Done)
            throw AgentException.Bad($"it answers a copy with a frame of kind {(byte)kind}");
    }

    /// <summary>What the user named: a link is followed to what it is, and what cannot be copied is an error.</summary>
    private async Task SendTopAsync(HostPath source, Task answer, CancellationToken cancel)
    {
        int error = source.Folder.TryOpenFile(source.Name, follow: true, out var file);
        using (file)
        {
            FolderEntry entry = default;
            if (error == 0)
                error = FolderHandle.TryLookAt(file!, out entry);
            if (error != 0)
                throw HostPath.Error(source.Name, error);
            if (entry.Kind == FolderEntryKind.Other)
                throw HostPath.Error(Encoding.UTF8.GetString(source.Name), "it is no file and no folder");
            if (entry.Kind == FolderEntryKind.File)
            {
                await SendFileAsync(file!, entry, source.Name, answer, cancel).ConfigureAwait(false);
                return;
            }

            if (!deep)
                throw HostPath.Error(Encoding.UTF8.GetString(source.Name), Errno.TextOf(Errno.EISDIR));
            // The same folder again, through its descriptor, as one to list.
            if (FolderHandle.TryOpen($"/proc/self/fd/{file!.Fd}", out var folder) is var failed and not 0)
                throw HostPath.Error(source.Name, failed);
            await SendFolderAsync(folder!, entry, source.Name, 1, answer, cancel).ConfigureAwait(false);
        }
    }

    private async Task SendFolderAsync(FolderHandle folder, FolderEntry entry, byte[] name, int depth, Task answer, CancellationToken cancel)
    {
        using (folder)
        {
            await link.SendAsync(AgentFrame.Node, new AgentNode(entry, name, default).ToPayload(), cancel).ConfigureAwait(false);
            if (folder.TryList(out var names) is var error and not 0)
                Skip(name, error);
            foreach (byte[] inside in names)
            {
                if (answer.IsCompleted)
                    return;
                await SendEntryAsync(folder, inside, depth, answer, cancel).ConfigureAwait(false);
            }

            await link.SendAsync(AgentFrame.FolderEnd, default, cancel).ConfigureAwait(false);
        }
    }

    private async Task SendEntryAsync(FolderHandle parent, byte[] name, int depth, Task answer, CancellationToken cancel)
    {
        int error = parent.TryLookAt(name, out var entry);
        if (error == 0 && (entry.Kind == FolderEntryKind.Other || (entry.Kind == FolderEntryKind.Folder && depth >= Deepest)))
            error = entry.Kind == FolderEntryKind.Other ? -Errno.ENXIO : -Errno.ENAMETOOLONG;
        if (error == 0 && entry.Kind == FolderEntryKind.Link)
        {
            byte[] target = new byte[FolderHandle.MostTarget];
            error = parent.TryReadLink(name, target);
            if (error > 0)
            {
                await link.SendAsync(AgentFrame.Node, new AgentNode(entry, name, target.AsMemory(0, error)).ToPayload(), cancel).ConfigureAwait(false);
                return;
            }
        }
        else if (error == 0 && entry.Kind == FolderEntryKind.Folder)
        {
            error = parent.TryEnter(name, out var folder);
            if (error == 0)
            {
                await SendFolderAsync(folder!, entry, name, depth + 1, answer, cancel).ConfigureAwait(false);
                return;
            }
        }
        else if (error == 0)
        {
            error = parent.TryOpenFile(name, follow: false, out var file);
            using (file)
            {
                if (error == 0)
                {
                    await SendFileAsync(file!, entry, name, answer, cancel).ConfigureAwait(false);
                    return;
                }
            }
        }

        Skip(name, error);
    }

    private async Task SendFileAsync(FdHandle file, FolderEntry entry, byte[] name, Task answer, CancellationToken cancel)
    {
        await link.SendAsync(AgentFrame.Node, new AgentNode(entry, name, default).ToPayload(), cancel).ConfigureAwait(false);
        while (!answer.IsCompleted)
        {
            int count = Descriptor.Read(file.Fd, _data);
            if (count < 0)
                throw HostPath.Error(name, count);
            if (count == 0)
                break;
            await link.SendAsync(AgentFrame.Data, _data.AsMemory(0, count), cancel).ConfigureAwait(false);
        }

        await link.SendAsync(AgentFrame.FileEnd, default, cancel).ConfigureAwait(false);
    }

    private void Skip(byte[] name, int error)
    {
        if (_skipped.Count < MostSkipped)
            _skipped.Add($"{VisibleText.Quote(Encoding.UTF8.GetString(name), 200)}: {Errno.TextOf(-error)}");
    }
}
