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
    public LogsVerb()
        : base("logs", "Shows what a machine's guest wrote to its console, of all its runs: the last 64 MiB.") =>
        Examples = [("kvmsharp logs web | tail -n 20", "its last words")];

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel)
    {
        _ = manager.Store.Read(name);
        string path = manager.Store.ConsoleLogOf(name);
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

        using var target = new DescriptorTarget(TerminalDescriptors.Output, escape: TerminalDescriptors.IsTerminal(TerminalDescriptors.Output));
        foreach (string file in (string[])[path + ".old", path])
        {
            if (Read(file) is { Length: > 0 } text)
                target.Write(text);
        }

        return ExitCode.Success;
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
