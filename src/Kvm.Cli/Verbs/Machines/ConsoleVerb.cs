using System.CommandLine;
using System.Text;
using System.Text.Json;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp console</c>: a running machine's console.</summary>
internal sealed class ConsoleVerb : MachineVerb
{
    private readonly SwitchOption _readOnly = new("--read-only", Doing, "Only looks on: what is typed goes nowhere.");

    public ConsoleVerb()
        : base("console", "Attaches this terminal to a running machine's console: Ctrl-A x detaches, the guest goes on. Any number may look on, one types.")
    {
        Add(_readOnly);
        Examples =
        [
            ("kvmsharp console web", "begins with what the guest wrote last"),
            ("kvmsharp console web --read-only", "beside another one that types"),
        ];
        Notes = ["With --json each piece of the guest's text is an object of one line, with the member console, and nothing is typed."];
    }

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel)
    {
        bool writes = !_readOnly.IsGiven(result) && !global.Json;
        bool attached = writes && TerminalDescriptors.IsForegroundTerminal(TerminalDescriptors.Input);
        using var client = manager.Connect(name);
        bool detached = false;
        using var ending = cancel.Register(client.Cancel);
        client.Ask(writes ? "console write" : "console read");
        if (!client.TryRead(out var greeting))
            return ExitCode.Success;
        if (writes && !Writes(greeting))
            StandardStreams.Error($"kvmsharp: another terminal types at {name}; this one looks on\n");
        using var mode = attached ? TerminalMode.TryEnter(TerminalDescriptors.Input) : null;
        LastResort.Restore = () => mode?.Restore();
        using var input = writes ? Input(client, attached, () =>
        {
            detached = true;
            client.Cancel();
        }) : null;
        input?.Start();
        Show(client, global);
        mode?.Restore();
        cancel.ThrowIfCancellationRequested();
        if (attached)
            StandardStreams.Error(detached ? $"\nkvmsharp: detached from {name}\n" : $"\nkvmsharp: {name} has ended\n");
        return ExitCode.Success;
    }

    private static bool Writes(ReadOnlyMemory<byte> greeting)
    {
        using var answer = JsonDocument.Parse(greeting);
        return answer.RootElement.TryGetProperty("writes", out var writes) && writes.ValueKind == JsonValueKind.True;
    }

    private static void Show(ControlClient client, GlobalOptions global)
    {
        using var target = new DescriptorTarget(TerminalDescriptors.Output, escape: false);
        byte[] text = new byte[16 << 10];
        int count;
        while ((count = client.Read(text)) > 0)
        {
            if (!global.Json)
            {
                if (!target.Write(text.AsSpan(0, count)))
                    return;
                continue;
            }

            string piece = Encoding.UTF8.GetString(text, 0, count);
            StandardStreams.Output(JsonText.Line(json =>
            {
                json.WriteStartObject();
                json.WriteString("console", piece);
                json.WriteEndObject();
            }));
        }
    }

    private static TerminalInput Input(ControlClient client, bool attached, Action detach) => new(TerminalDescriptors.Input, attached, typed =>
    {
        try
        {
            client.Send(typed);
        }
        catch (VmmException)
        {
            // The guest has ended: the reader finds out.
        }

        return typed.Length;
    })
    {
        Command = command =>
        {
            if (command == TerminalCommand.Quit)
                detach();
            else
                StandardStreams.Error("\r\nkvmsharp: Ctrl-A x detaches, Ctrl-A h shows this, Ctrl-A Ctrl-A types Ctrl-A\r\n");
        },
        HungUp = detach,
    };
}
