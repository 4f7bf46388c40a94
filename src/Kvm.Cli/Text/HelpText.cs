using System.CommandLine;
using System.Text;
using Kvm.Cli.Parsing;

namespace Kvm.Cli.Text;

/// <summary>Writes the help of a verb from the command tree: the same symbols that parse and complete.</summary>
internal static class HelpText
{
    private const int Width = 100;
    private const int Indent = 2;

    /// <summary>Descriptions start here; a longer left column gets a line of its own.</summary>
    private const int DescriptionColumn = 28;

    /// <summary>The help of one command.</summary>
    /// <param name="command">The root or a verb.</param>
    /// <param name="root">The root: its options are every verb's.</param>
    public static string Of(Command command, Command root)
    {
        var text = new StringBuilder();
        Wrap(text, command.Description ?? "", 0);
        text.Append('\n').Append("Usage:\n").Append(' ', Indent).Append(UsageLine(command, root)).Append('\n');
        if (command.Arguments.Count > 0)
            AppendSection(text, "Arguments", command.Arguments.Select(a => (a.Name, Described(a))));
        if (command.Subcommands.Count > 0)
            AppendSection(text, "Verbs", command.Subcommands.Where(c => !c.Hidden).Select(c => (c.Name, c.Description ?? "")));
        IEnumerable<Option> own = command == root ? [] : command.Options;
        foreach (var section in own.Concat(root.Options.Where(o => o.Recursive || command == root)).GroupBy(o => ((IDescribed)o).Section))
            AppendSection(text, section.Key, section.Select(o => (Left(o), Described(o))));
        if (command is Verb verb)
            AppendEnd(text, verb);
        return text.ToString();
    }

    private static string UsageLine(Command command, Command root)
    {
        if (command == root)
            return $"{root.Name} VERB [options]";
        var line = new StringBuilder($"{root.Name} {command.Name}");
        foreach (var argument in command.Arguments)
            line.Append($" {argument.Name}");
        return line.Append(" [options]").ToString();
    }

    private static string Left(Option option)
    {
        var names = string.Join(", ", option.Aliases.Order(StringComparer.Ordinal).Append(option.Name));
        return option is ValueOption ? $"{names} {option.HelpName}" : names;
    }

    private static string Described(Symbol symbol)
    {
        var described = (IDescribed)symbol;
        return described.Kind == ValueKind.OneOf
            ? $"{symbol.Description} One of: {string.Join(", ", described.Values)}."
            : symbol.Description ?? "";
    }

    private static void AppendEnd(StringBuilder text, Verb verb)
    {
        if (verb.Examples.Count > 0)
        {
            text.Append("\nExamples:\n");
            foreach (var (command, remark) in verb.Examples)
                text.Append(' ', Indent).Append(command).Append('\n').Append(' ', Indent * 3).Append(remark).Append('\n');
        }

        if (verb.Notes.Count > 0)
            text.Append('\n');
        foreach (var note in verb.Notes)
            Wrap(text, note, 0);
    }

    private static void AppendSection(StringBuilder text, string heading, IEnumerable<(string Left, string Right)> rows)
    {
        text.Append('\n').Append(heading).Append(":\n");
        foreach (var (left, right) in rows)
        {
            text.Append(' ', Indent).Append(left);
            var used = Indent + left.Length;
            if (used + 2 > DescriptionColumn)
            {
                text.Append('\n');
                used = 0;
            }

            text.Append(' ', DescriptionColumn - used);
            Wrap(text, right, DescriptionColumn);
        }
    }

    /// <summary>Appends words, broken at <see cref="Width"/>; the first line is already indented.</summary>
    private static void Wrap(StringBuilder text, string words, int indent)
    {
        var column = indent;
        foreach (var word in words.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (column > indent && column + 1 + word.Length > Width)
            {
                text.Append('\n').Append(' ', indent);
                column = indent;
            }

            if (column > indent)
            {
                text.Append(' ');
                column++;
            }

            text.Append(word);
            column += word.Length;
        }

        text.Append('\n');
    }
}
