using System.CommandLine;
using System.CommandLine.Parsing;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Parsing;

/// <summary>What an option's or argument's value is, for completion.</summary>
internal enum ValueKind
{
    /// <summary>Free text: nothing to offer.</summary>
    Text,

    /// <summary>One of a list.</summary>
    OneOf,

    /// <summary>A path.</summary>
    File,
}

/// <summary>What help and completion need to know beyond the parser's own symbols.</summary>
internal interface IDescribed
{
    /// <summary>The heading in the help text under which the symbol stands.</summary>
    string Section { get; }

    /// <summary>What the value is.</summary>
    ValueKind Kind { get; }

    /// <summary>The values there are, where <see cref="Kind"/> is <see cref="ValueKind.OneOf"/>.</summary>
    IReadOnlyList<string> Values { get; }
}

/// <summary>An option without a value.</summary>
internal sealed class SwitchOption : Option<bool>, IDescribed
{
    public SwitchOption(string name, string section, string description, params string[] aliases)
        : base(name, aliases)
    {
        Section = section;
        Description = description;
        // A word after it is the next argument, also when it reads "true".
        Arity = ArgumentArity.Zero;
    }

    public string Section { get; }

    public ValueKind Kind => ValueKind.Text;

    public IReadOnlyList<string> Values => [];

    public bool IsGiven(ParseResult result) => result.GetResult(this) is { Implicit: false };
}

/// <summary>An option with one value. Values stay text here: their errors are ours to word.</summary>
internal sealed class ValueOption : Option<string>, IDescribed
{
    public ValueOption(string name, string valueName, string section, string description, params string[] aliases)
        : base(name, aliases)
    {
        Section = section;
        Description = description;
        HelpName = valueName;
        Arity = ArgumentArity.ExactlyOne;
    }

    public string Section { get; }

    public ValueKind Kind { get; init; }

    public IReadOnlyList<string> Values { get; init; } = [];

    /// <summary>The value it has when nothing follows that could be one; null for an option that is nothing without a value.</summary>
    public string? Alone { get; init; }

    /// <summary>True for an option that may be given several times.</summary>
    public bool Repeats
    {
        get => Arity.MaximumNumberOfValues > 1;
        init
        {
            Arity = value ? ArgumentArity.OneOrMore : ArgumentArity.ExactlyOne;
            // The parser turns several words into a text only when it is told how.
            CustomParser = static argument => argument.Tokens is [.., var token] ? token.Value : null;
        }
    }

    /// <summary>The value given, or null.</summary>
    public string? Text(ParseResult result) =>
        result.GetResult(this) is { Tokens: [.., var token] } ? token.Value : null;

    /// <summary>The values given, in their order; null if there are none.</summary>
    public IReadOnlyList<string>? Texts(ParseResult result) =>
        result.GetResult(this) is { Tokens: [_, ..] tokens } ? [.. tokens.Select(t => t.Value)] : null;
}

/// <summary>Gives options their value where they stand alone, which the parser cannot: it takes the next word, a kernel's perhaps.</summary>
internal static class LoneOptions
{
    /// <summary>The words, with <c>--net=user</c> for a <c>--net</c> at the end, before another option or before a file.</summary>
    public static string[] Complete(Command root, string[] args)
    {
        var options = root.Subcommands.SelectMany(c => c.Options).OfType<ValueOption>().Where(o => o.Alone is not null).DistinctBy(o => o.Name).ToDictionary(o => o.Name, o => o.Alone!);
        int end = Array.IndexOf(args, "--") is >= 0 and var dashes ? dashes : args.Length;
        string[] words = [.. args];
        for (int i = 0; i < end; i++)
        {
            if (options.TryGetValue(args[i], out string? value) && (i + 1 == end || args[i + 1].StartsWith('-') || File.Exists(args[i + 1])))
                words[i] = $"{args[i]}={value}";
        }

        return words;
    }
}

/// <summary>A positional argument, at most one word, or any number.</summary>
internal sealed class WordArgument : Argument<string>, IDescribed
{
    public WordArgument(string name, string description)
        : base(name)
    {
        Description = description;
        Arity = ArgumentArity.ZeroOrOne;
    }

    /// <summary>True for one of any number of words.</summary>
    public bool Repeats
    {
        get => Arity.MaximumNumberOfValues > 1;
        init
        {
            Arity = value ? ArgumentArity.ZeroOrMore : ArgumentArity.ZeroOrOne;
            CustomParser = static argument => argument.Tokens is [.., var token] ? token.Value : null;
        }
    }

    public string Section => "Arguments";

    public ValueKind Kind { get; init; }

    public IReadOnlyList<string> Values { get; init; } = [];

    /// <summary>The word given, or null.</summary>
    public string? Text(ParseResult result) =>
        result.GetResult(this) is { Tokens: [.., var token] } ? token.Value : null;

    /// <summary>The words given, in their order.</summary>
    public IReadOnlyList<string> Texts(ParseResult result) =>
        result.GetResult(this) is { Tokens: { } tokens } ? [.. tokens.Select(t => t.Value)] : [];
}

/// <summary>All words that are left.</summary>
internal sealed class WordsArgument : Argument<string[]>, IDescribed
{
    public WordsArgument(string name, string description)
        : base(name)
    {
        Description = description;
        Arity = ArgumentArity.ZeroOrMore;
        CustomParser = static argument => [.. argument.Tokens.Select(token => token.Value)];
    }

    public string Section => "Arguments";

    public ValueKind Kind => ValueKind.Text;

    public IReadOnlyList<string> Values => [];

    /// <summary>The words given.</summary>
    public IReadOnlyList<string> Texts(ParseResult result) => result.GetResult(this) is { } given ? [.. given.Tokens.Select(token => token.Value)] : [];
}

/// <summary>A verb: a command that can be run, with what its help says beyond the options.</summary>
internal abstract class Verb(string name, string description) : Command(name, description)
{
    /// <summary>Lines shown under "Examples", each a command and a remark.</summary>
    public IReadOnlyList<(string Command, string Remark)> Examples { get; init; } = [];

    /// <summary>Lines shown at the end of the help text.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The word that says what a verb with several deeds is to do.</summary>
    /// <exception cref="VmmException">There is none, or it is none of <see cref="WordArgument.Values"/>.</exception>
    protected string Deed(WordArgument action, ParseResult result)
    {
        string known = string.Join(", ", action.Values);
        string word = action.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, $"{Name} needs a word: {known}");
        return action.Values.Contains(word) ? word : throw new VmmException(UsageErrors.Unknown,
            $"{Name} does not know {VisibleText.Quote(word, 40)}{(NearestName.Find(word, action.Values) is { } near ? $"; did you mean {near}?" : $": {known}")}");
    }

    /// <summary>The words behind a deed, of which there are as many as it takes.</summary>
    /// <param name="deed">The deed.</param>
    /// <param name="words">The words.</param>
    /// <param name="least">As many at least.</param>
    /// <param name="most">As many at most.</param>
    /// <param name="what">What is missing where there are fewer.</param>
    /// <exception cref="VmmException">There are fewer or more.</exception>
    protected IReadOnlyList<string> Counted(string deed, IReadOnlyList<string> words, int least, int most, string what)
    {
        if (words.Count < least)
            throw new VmmException(UsageErrors.Incomplete, $"{Name} {deed} needs {what}");
        return words.Count <= most ? words : throw new VmmException(UsageErrors.Unknown, $"{Name} {deed} does not take {VisibleText.Quote(words[most], 40)} here");
    }

    /// <summary>Does it.</summary>
    /// <returns>The exit code.</returns>
    public abstract int Execute(ParseResult result, GlobalOptions global);
}

/// <summary>The options every verb takes, as given.</summary>
/// <param name="Json">One JSON document on standard output.</param>
/// <param name="Verbose">Stack traces and more messages.</param>
internal readonly record struct GlobalOptions(bool Json, bool Verbose);
