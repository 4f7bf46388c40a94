using System.CommandLine;
using System.CommandLine.Parsing;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Cli.Verbs;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Cli;

/// <summary>From the words of the command line to an exit code.</summary>
internal static class EntryPoint
{
    private static readonly ParserConfiguration s_parsing = new()
    {
        // "@file" is an ordinary word here, and "-abc" is not three options.
        ResponseFileTokenReplacer = null,
        EnablePosixBundling = false,
    };

    /// <summary>Runs the program.</summary>
    /// <returns>The exit code (docs/cli.md).</returns>
    public static int Run(string[] args)
    {
        var verbose = false;
        try
        {
            TerminalDescriptors.FillClosed();
            LastResort.Install();
            args = FirecrackerVerb.AsCalled(args);
            var tree = new CommandTree();
            args = ExecWords.Separate(tree.Root, LoneOptions.Complete(tree.Root, args));
            var result = tree.Root.Parse(args, s_parsing);
            LastResort.Verbose = verbose = tree.Verbose.IsGiven(result);
            return Dispatch(tree, result, args);
        }
        catch (VmmException e)
        {
            StandardStreams.Error(ErrorText.Of(e, verbose));
            return e.ExitCode;
        }
        catch (Exception e)
        {
            StandardStreams.Error(ErrorText.Of(ErrorText.Unexpected(e), verbose));
            return ExitCode.HostFailure;
        }
    }

    private static int Dispatch(CommandTree tree, ParseResult result, string[] args)
    {
        var command = result.CommandResult.Command;
        if (tree.Help.IsGiven(result))
        {
            StandardStreams.Output(HelpText.Of(command, tree.Root));
            return ExitCode.Success;
        }

        ThrowOnMistakes(result, tree.Root, args);
        var global = new GlobalOptions(tree.Json.IsGiven(result), tree.Verbose.IsGiven(result));
        if (command is Verb verb)
            return verb.Execute(result, global);
        if (tree.Version.IsGiven(result))
        {
            StandardStreams.Output(global.Json ? VersionJson() : ProductVersion.Line + "\n");
            return ExitCode.Success;
        }

        StandardStreams.Error(HelpText.Of(tree.Root, tree.Root));
        return ExitCode.Usage;
    }

    private static string VersionJson() => JsonText.Of(json =>
    {
        json.WriteStartObject();
        json.WriteString("version", ProductVersion.Number);
        json.WriteString("runtime", ProductVersion.Runtime);
        json.WriteBoolean("aheadOfTime", ProductVersion.IsAheadOfTime);
        json.WriteEndObject();
    });

    /// <summary>Turns the parser's findings into one error of ours.</summary>
    private static void ThrowOnMistakes(ParseResult result, Command root, string[] args)
    {
        var command = result.CommandResult.Command;
        if (FindSwitchWithValue(command, root, args) is { } name)
            throw new VmmException(UsageErrors.Unknown, $"{name} takes no value");
        if (FindStray(result) is { } stray)
            throw new VmmException(UsageErrors.Unknown, DescribeStray(stray, command, root));
        if (result.Errors is [var first, ..])
            throw new VmmException(UsageErrors.Incomplete, VisibleText.Escape(first.Message));
    }

    // The parser would take "--json=x" for --json and the argument x.
    private static string? FindSwitchWithValue(Command command, Command root, string[] args) =>
        command.Options.Concat(root.Options).OfType<SwitchOption>().Select(o => o.Name)
            .FirstOrDefault(name => args.TakeWhile(a => a != "--").Any(a => a.StartsWith(name + "=", StringComparison.Ordinal)));

    /// <summary>
    /// The first word that nothing takes. The parser takes a misspelt option for an argument where one is free, so words
    /// that begin with a dash are looked for among the arguments too, unless "--" came before.
    /// </summary>
    private static string? FindStray(ParseResult result)
    {
        if (!result.Tokens.Any(t => t.Type == TokenType.DoubleDash))
        {
            foreach (var argument in result.CommandResult.Command.Arguments)
            {
                if (result.GetResult(argument) is { Tokens: [{ Value: ['-', _, ..] value }, ..] })
                    return value;
            }
        }

        return result.UnmatchedTokens is [var unmatched, ..] ? unmatched : null;
    }

    private static string DescribeStray(string word, Command command, Command root)
    {
        var shown = VisibleText.Quote(word, 40);
        if (word.StartsWith('-'))
        {
            var options = command.Options.Concat(root.Options.Where(o => o.Recursive)).Select(o => o.Name);
            return $"unknown option {shown}{DidYouMean(word.Split('=')[0], options)}";
        }

        return command == root
            ? $"unknown verb {shown}{DidYouMean(word, root.Subcommands.Where(c => !c.Hidden).Select(c => c.Name))}"
            : $"{command.Name} does not take {shown} here";
    }

    private static string DidYouMean(string word, IEnumerable<string> names) =>
        NearestName.Find(word, names) is { } near ? $"; did you mean {near}?" : "";
}
