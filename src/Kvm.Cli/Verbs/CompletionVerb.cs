using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Vmm;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp completion</c>: what a shell needs to complete the command line.</summary>
internal sealed class CompletionVerb : Verb
{
    private readonly CommandTree _tree;
    private readonly WordArgument _shell = new("SHELL", "The shell that will load it.") { Kind = ValueKind.OneOf, Values = CompletionScript.Shells };

    public CompletionVerb(CommandTree tree)
        : base("completion", "Prints a completion script for bash, zsh or fish.")
    {
        _tree = tree;
        Add(_shell);
        Examples =
        [
            ("source <(kvmsharp completion bash)", "completes in this bash; put the line into ~/.bashrc to keep it"),
            ("kvmsharp completion zsh > ~/.zfunc/_kvmsharp", "for zsh, where ~/.zfunc is in $fpath"),
            ("kvmsharp completion fish > ~/.config/fish/completions/kvmsharp.fish", "for fish"),
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_shell.Text(result) is not { } shell)
            throw new VmmException(UsageErrors.Incomplete, $"completion needs a SHELL: {string.Join(", ", CompletionScript.Shells)}");
        Quantities.OneOf("SHELL", shell, CompletionScript.Shells);
        var script = CompletionScript.For(shell, _tree.Root);
        StandardStreams.Output(global.Json ? Json(shell, script) : script);
        return ExitCode.Success;
    }

    private static string Json(string shell, string script) => JsonText.Of(json =>
    {
        json.WriteStartObject();
        json.WriteString("shell", shell);
        json.WriteString("script", script);
        json.WriteEndObject();
    });
}
