using System.CommandLine;

namespace Kvm.Cli.Parsing;

/// <summary>
/// Keeps the words of a command that exec runs from the parser, which would take their options for its own: behind the guest's name it is told that no more options
/// come. And <c>-it</c> is <c>-i -t</c>, as everywhere.
/// </summary>
internal static class ExecWords
{
    private const string Verb = "exec", NoMore = "--";

    /// <summary>The words, with <c>--</c> behind the guest's name.</summary>
    public static string[] Separate(Command root, string[] args)
    {
        int verb = Array.FindIndex(args, word => !word.StartsWith('-'));
        if (verb < 0 || args[verb] != Verb)
            return args;
        var withValue = root.Subcommands.First(command => command.Name == Verb).Options.OfType<ValueOption>().SelectMany(option => option.Aliases.Append(option.Name)).ToHashSet();
        List<string> words = [.. args[..(verb + 1)]];
        int at = verb + 1;
        for (; at < args.Length && args[at].StartsWith('-'); at++)
        {
            if (args[at] == NoMore)
                return [.. words, .. args[at..]];
            words.AddRange(args[at] is "-it" or "-ti" ? ["-i", "-t"] : [args[at]]);
            if (withValue.Contains(args[at]) && at + 1 < args.Length)
                words.Add(args[++at]);
        }

        if (at == args.Length)
            return [.. words];
        words.Add(args[at++]);
        return at == args.Length || args[at] == NoMore ? [.. words, .. args[at..]] : [.. words, NoMore, .. args[at..]];
    }
}
