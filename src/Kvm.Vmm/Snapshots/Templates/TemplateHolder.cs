using Kvm.Interop;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Templates;

/// <summary>
/// The process that has a template in memory (<c>kvmsharp template hold</c>), and how others get it: whoever connects to its socket, <c>templates/NAME.sock</c> in the runtime
/// folder, and is this user or the administrator, is given the sealed file.
/// </summary>
public sealed class TemplateHolder : IDisposable
{
    private const byte GetWord = (byte)'g', EndWord = (byte)'e';
    private const int Backlog = 64, PatienceMilliseconds = 1000;
    private static readonly TimeSpan s_startPatience = TimeSpan.FromMinutes(2);

    private readonly Template _template;
    private readonly UnixListener _listener;
    private readonly EventFd _ended = new();

    private TemplateHolder(Template template, UnixListener listener) => (_template, _listener) = (template, listener);

    /// <summary>Begins to hold a template.</summary>
    /// <param name="template">The template; stays the caller's.</param>
    /// <param name="runtimeFolder">The runtime folder (<see cref="Folders.Runtime"/>).</param>
    /// <exception cref="VmmException">Another process holds it, or the socket cannot be made.</exception>
    public static TemplateHolder Open(Template template, string runtimeFolder)
    {
        ArgumentNullException.ThrowIfNull(template);
        string path = PathOf(runtimeFolder, template.Name);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            return new TemplateHolder(template, UnixListener.Open(path, Backlog));
        }
        catch (Exception e) when (e is KvmException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new VmmException(RestoreErrors.NotHeld, $"{template.Name}: {e.Message}", e);
        }
    }

    /// <summary>Gives it to whoever asks, until it is to end.</summary>
    public void Run()
    {
        bool ends = false;
        while (!ends)
        {
            Span<PollFd> waited = [new PollFd { Fd = _listener.Handle.Fd, Events = PollFd.POLLIN }, new PollFd { Fd = _ended.Handle.Fd, Events = PollFd.POLLIN }];
            _ = Descriptor.Poll(waited, -1);
            if (waited[1].Revents != 0)
                break;
            if (_listener.TryAccept(out var client) && client is not null)
            {
                using (client)
                    ends = Answer(client);
            }
        }
    }

    /// <summary>Has <see cref="Run"/> return. Any thread.</summary>
    public void End() => _ended.Signal();

    /// <inheritdoc/>
    public void Dispose()
    {
        _listener.Dispose();
        _ended.Dispose();
    }

    /// <summary>Gets a template from the process that holds it; where none does, one is started and waited for.</summary>
    /// <param name="store">Where the snapshot is.</param>
    /// <param name="name">Its name.</param>
    /// <param name="runtimeFolder">The runtime folder.</param>
    /// <param name="program">The program, whose verb <c>template hold</c> holds it.</param>
    /// <exception cref="VmmException">There is none of that name, or it cannot be held.</exception>
    public static Template Get(SnapshotStore store, string name, string runtimeFolder, string program)
    {
        ArgumentNullException.ThrowIfNull(store);
        string identity = store.IdentityOf(name);
        if (TryOpen(runtimeFolder, name) is { } held)
        {
            if (held.Identity == identity)
                return held;
            // Another one has its name now.
            held.Dispose();
            _ = TryEnd(runtimeFolder, name);
        }

        string log = Path.ChangeExtension(PathOf(runtimeFolder, name), ".log");
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(log)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            using var process = StartedProcess.Start(program, ["template", "hold", name, "--store", store.Path], log);
            process.WaitForWord(s_startPatience);
            // Of several that were started at once one has the socket, and the others have ended.
            return TryOpen(runtimeFolder, name) is { } started && started.Identity == identity
                ? started : throw new VmmException(RestoreErrors.NotHeld, $"{name}: {ReasonIn(log)}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(RestoreErrors.NotHeld, $"{name}: {e.Message}", e);
        }
    }

    /// <summary>Gets a template from the process that holds it; null where none does.</summary>
    public static Template? TryOpen(string runtimeFolder, string name)
    {
        using var line = Connect(runtimeFolder, name);
        if (line is null || line.Send([GetWord]) < 1 || line.Receive(new byte[1], out var file) < 1 || file is null)
            return null;
        return Template.Open(file);
    }

    /// <summary>Has the process that holds a template end, and waits for that; false where none holds it. Machines that were made of it keep what they share.</summary>
    public static bool TryEnd(string runtimeFolder, string name)
    {
        using var line = Connect(runtimeFolder, name);
        return line is not null && line.Send([EndWord]) == 1 && line.Receive(new byte[1], out _) >= 0;
    }

    private static UnixSocket? Connect(string runtimeFolder, string name)
    {
        if (UnixSocket.TryConnect(PathOf(runtimeFolder, name), out var line) != 0 || line is null)
            return null;
        if (line.HasTrustedPeer(out _))
            return line;
        line.Dispose();
        return null;
    }

    private static string PathOf(string runtimeFolder, string name)
    {
        ManifestText.ThrowIfNoName(name);
        return Path.Combine(runtimeFolder, "templates", name + ".sock");
    }

    private static string ReasonIn(string log) =>
        File.Exists(log) && File.ReadLines(log).FirstOrDefault(line => line.Length > 0) is { } line ? line : "its process has ended";

    /// <summary>Answers one client; true where that ends it.</summary>
    private bool Answer(UnixSocket client)
    {
        Span<byte> word = stackalloc byte[1];
        if (!client.HasTrustedPeer(out _)
            || Descriptor.Poll([new PollFd { Fd = client.Handle.Fd, Events = PollFd.POLLIN }], PatienceMilliseconds) <= 0
            || client.ReceiveBytes(word) != 1)
            return false;
        if (word[0] == GetWord)
            _ = client.Send(word, _template.File, wait: false);
        if (word[0] != EndWord)
            return false;
        // The name is free when the other end finds the line closed.
        _listener.Dispose();
        return true;
    }
}
