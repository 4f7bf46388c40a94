using System.CommandLine;
using System.Text;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp logs</c>.</summary>
internal sealed class LogsVerb : MachineVerb
{
    /// <summary>How often it is looked whether the guest has ended, where nothing happens in its folder: its process may have been killed.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(1);

    private readonly SwitchOption _follow = new("--follow", Doing, "Goes on with what the guest writes, until it has ended.", "-f");

    public LogsVerb()
        : base("logs", "Shows what a machine's guest wrote to its console, of all its runs: the last 64 MiB.")
    {
        Add(_follow);
        Examples =
        [
            ("kvmsharp logs web | tail -n 20", "its last words"),
            ("kvmsharp logs --follow web", "as it writes them"),
        ];
    }

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel)
    {
        _ = manager.Store.Read(name);
        string path = manager.Store.ConsoleLogOf(name);
        if (_follow.IsGiven(result))
            return Follow(manager, name, Read(path + ".old"), global, cancel);
        if (global.Json)
        {
            StandardStreams.Output(JsonText.Of(json =>
            {
                json.WriteStartObject();
                json.WriteString("name", name);
                json.WriteString("console", Encoding.UTF8.GetString([.. Read(path + ".old"), .. Read(path)]));
                json.WriteEndObject();
            }));
            return ExitCode.Success;
        }

        using var target = Target();
        foreach (string file in (string[])[path + ".old", path])
        {
            if (Read(file) is { Length: > 0 } text)
                target.Write(text);
        }

        return ExitCode.Success;
    }

    /// <summary>Goes on until the guest has ended and is not to be started again.</summary>
    private static int Follow(VmManager manager, string name, byte[] before, GlobalOptions global, CancellationToken cancel)
    {
        using var target = Target();
        using var follower = new FileFollower(manager.Store.ConsoleLogOf(name), fromEnd: false);
        byte[] text = new byte[64 << 10];
        Show(target, before, global);
        while (true)
        {
            // Looked at before the file: what was written before the end is read before it is found out about.
            bool goesOn = manager.Get(name) is var record && (Lifecycle.IsActive(record.State) || record.RestartAt is not null);
            int count, all = 0;
            while ((count = follower.Read(text)) > 0)
            {
                Show(target, text.AsSpan(0, count), global);
                all += count;
            }

            if (!goesOn)
                return ExitCode.Success;
            if (all == 0)
                follower.Wait(s_look, cancel);
            cancel.ThrowIfCancellationRequested();
        }
    }

    private static DescriptorTarget Target() => new(TerminalDescriptors.Output, escape: TerminalDescriptors.IsTerminal(TerminalDescriptors.Output));

    private static void Show(DescriptorTarget target, ReadOnlySpan<byte> text, GlobalOptions global)
    {
        if (text.IsEmpty)
            return;
        if (!global.Json)
        {
            target.Write(text);
            return;
        }

        string piece = Encoding.UTF8.GetString(text);
        StandardStreams.Output(JsonText.Line(json =>
        {
            json.WriteStartObject();
            json.WriteString("console", piece);
            json.WriteEndObject();
        }));
    }

    private static byte[] Read(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllBytes(path) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(ManagerErrors.CannotKeep, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }
}
