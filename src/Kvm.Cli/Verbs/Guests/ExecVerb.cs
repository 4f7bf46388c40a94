using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Vmm;
using Kvm.Vmm.Agent;

namespace Kvm.Cli.Verbs.Guests;

/// <summary><c>kvmsharp exec</c>: a program in a guest.</summary>
internal sealed class ExecVerb : Verb
{
    private const string Running = "How";

    private readonly WordArgument _name = new("NAME", "The guest, as run --agent --name NAME called it; or, with a slash in it, the socket of its --vsock.");
    private readonly WordsArgument _command = new("CMD…", "The program and its arguments, as they are: behind NAME nothing is an option of exec's.");
    private readonly SwitchOption _input = new("--interactive", Running, "The program reads this command's standard input; else it finds the end at once.", "-i");
    private readonly SwitchOption _terminal = new("--tty", Running, "The program has a terminal, of the size of this one, whose keys go to it; -it for both.", "-t");
    private readonly ValueOption _environment = new("--env", "NAME=VALUE", Running, "A variable of the program's, as often as there are variables.", "-e") { Repeats = true };
    private readonly ValueOption _folder = new("--workdir", "DIR", Running, "The program's working folder. [default: /]", "-w") { Kind = ValueKind.File };
    private readonly ValueOption _timeout = new("--timeout", "DURATION", Running, "Kills the program after this time (500ms, 10s, 2m, 1h); exit code 13.");

    public ExecVerb()
        : base("exec", "Runs a program in a guest with an agent; ends with its exit code, or 128 and the signal that ended it.")
    {
        Add(_name);
        Add(_command);
        foreach (Option option in (Option[])[_input, _terminal, _environment, _folder, _timeout])
            Add(option);
        Examples =
        [
            ("kvmsharp run vmlinuz --initrd initrd.img --agent --name web & kvmsharp exec web uname -r", "waits until the guest's agent is there"),
            ("kvmsharp exec -it web sh", "a shell"),
            ("tar c . | kvmsharp exec -i -w /srv web tar x", "with standard input"),
        ];
        Notes =
        [
            "Exit codes of its own: 1 the guest is gone or has no agent; 13 --timeout; 126 the program cannot be executed; 127 there is no such program.",
            "SIGINT and SIGTERM go to the program; the second one ends exec, and with it the program.",
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_name.Text(result) is not { } name || _command.Texts(result) is not [_, ..] words)
            throw new VmmException(UsageErrors.Incomplete, "exec needs a guest and a program: kvmsharp exec NAME CMD");
        string path = GuestNames.SocketOf(name);
        var command = new AgentCommand(words)
        {
            Environment = Variables(result),
            Folder = _folder.Text(result),
            HasInput = _input.IsGiven(result),
            Terminal = _terminal.IsGiven(result) ? ExecSession.Size() : null,
        };
        var timeout = _timeout.Text(result) is { } text ? Quantities.Duration("--timeout", text) : (TimeSpan?)null;
        if (global.Json && command.Terminal is not null)
            throw new VmmException(UsageErrors.Conflict, "--json keeps what the program writes, and --tty shows it");
        try
        {
            using var session = new ExecSession(command, timeout, global);
            return session.Run(path);
        }
        catch (ArgumentException e)
        {
            throw new VmmException(UsageErrors.BadValue, e.Message, e);
        }
    }

    private Dictionary<string, string> Variables(ParseResult result)
    {
        Dictionary<string, string> variables = [];
        foreach (string text in _environment.Texts(result) ?? [])
        {
            int equals = text.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
                throw Quantities.Bad("--env", text, "is not NAME=VALUE");
            variables[text[..equals]] = text[(equals + 1)..];
        }

        return variables;
    }
}
