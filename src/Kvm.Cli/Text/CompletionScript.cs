using System.CommandLine;
using System.Text;
using Kvm.Cli.Parsing;

namespace Kvm.Cli.Text;

/// <summary>Writes completion scripts for shells from the command tree, so that what completes is what parses.</summary>
internal static class CompletionScript
{
    /// <summary>The shells there is a script for.</summary>
    public static IReadOnlyList<string> Shells { get; } = ["bash", "zsh", "fish"];

    /// <summary>The script of one of <see cref="Shells"/>.</summary>
    public static string For(string shell, Command root) => shell switch
    {
        "bash" => Bash(root),
        "zsh" => Zsh(root),
        _ => Fish(root),
    };

    private static string Bash(Command root)
    {
        var values = new StringBuilder();
        var words = new StringBuilder();
        foreach (var verb in Verbs(root))
        {
            foreach (var option in Options(verb, root).OfType<ValueOption>())
                values.Append($"        '{verb.Name} {option.Name}') {BashReply(option)} return ;;\n");
            var names = string.Join(' ', Options(verb, root).SelectMany(Names));
            var argument = verb.Arguments.OfType<IDescribed>().FirstOrDefault();
            words.Append($"        {verb.Name})\n            if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W '{names}' -- \"$cur\"))\n");
            words.Append($"            else {(argument is null ? ":;" : BashReply(argument))} fi ;;\n");
        }

        var verbs = string.Join(' ', Verbs(root).Select(v => v.Name));
        return $$"""
            # bash completion for kvmsharp. Load it: source <(kvmsharp completion bash)
            _kvmsharp() {
                local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= word
                COMPREPLY=()
                for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                    case $word in {{verbs.Replace(' ', '|')}}) verb=$word; break ;; esac
                done
                case "$verb $prev" in
            {{values.ToString().TrimEnd('\n')}}
                esac
                case $verb in
                    '') COMPREPLY=($(compgen -W '{{verbs}} {{string.Join(' ', root.Options.SelectMany(Names))}}' -- "$cur")) ;;
            {{words.ToString().TrimEnd('\n')}}
                esac
            }
            complete -F _kvmsharp kvmsharp

            """;
    }

    private static string BashReply(IDescribed symbol) => symbol.Kind switch
    {
        ValueKind.OneOf => $"COMPREPLY=($(compgen -W '{string.Join(' ', symbol.Values)}' -- \"$cur\"));",
        ValueKind.File => "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\");",
        _ => ":;",
    };

    private static string Zsh(Command root)
    {
        var text = new StringBuilder("#compdef kvmsharp\n# zsh completion for kvmsharp. Save it as _kvmsharp in a folder of $fpath.\n");
        foreach (var verb in Verbs(root))
        {
            text.Append($"_kvmsharp_{verb.Name}() {{\n    _arguments");
            foreach (var option in Options(verb, root))
            {
                foreach (var name in Names(option))
                    text.Append($" \\\n        {Quoted($"{name}[{ZshText(option.Description)}]{ZshValue(option)}")}");
            }

            foreach (var argument in verb.Arguments)
                text.Append($" \\\n        {Quoted($"1:{argument.Name}:{ZshAction((IDescribed)argument)}")}");
            text.Append("\n}\n");
        }

        text.Append("_kvmsharp() {\n    local line state\n    local -a verbs=(\n");
        foreach (var verb in Verbs(root))
            text.Append($"        {Quoted($"{verb.Name}:{verb.Description}")}\n");
        text.Append("    )\n    _arguments -C");
        foreach (var option in root.Options)
            text.Append($" \\\n        {Quoted($"{option.Name}[{ZshText(option.Description)}]")}");
        return text.Append("""
             \
                    '1: :->verb' '*:: :->rest'
                case $state in
                    verb) _describe verb verbs ;;
                    rest) (( $+functions[_kvmsharp_$line[1]] )) && _kvmsharp_$line[1] ;;
                esac
            }
            if [[ $funcstack[1] == _kvmsharp ]]; then _kvmsharp "$@"; else compdef _kvmsharp kvmsharp; fi

            """).ToString();
    }

    private static string ZshValue(Option option) =>
        option is ValueOption value ? $":{value.HelpName}:{ZshAction(value)}" : "";

    private static string ZshAction(IDescribed symbol) => symbol.Kind switch
    {
        ValueKind.OneOf => $"({string.Join(' ', symbol.Values)})",
        ValueKind.File => "_files",
        _ => " ",
    };

    private static string ZshText(string? text) => (text ?? "").Replace("[", "(").Replace("]", ")").Replace(":", " -");

    private static string Fish(Command root)
    {
        var text = new StringBuilder("# fish completion for kvmsharp. Load it: kvmsharp completion fish | source\ncomplete -c kvmsharp -f\n");
        foreach (var option in root.Options)
            text.Append($"complete -c kvmsharp {FishNames(option)} -d {Quoted(option.Description)}\n");
        foreach (var verb in Verbs(root))
        {
            text.Append($"complete -c kvmsharp -n __fish_use_subcommand -a {verb.Name} -d {Quoted(verb.Description)}\n");
            var condition = $"complete -c kvmsharp -n '__fish_seen_subcommand_from {verb.Name}'";
            foreach (var argument in verb.Arguments.Cast<IDescribed>())
                text.Append($"{condition} {FishValue(argument)}\n");
            foreach (var option in verb.Options)
                text.Append($"{condition} {FishNames(option)}{(option is ValueOption value ? $" {FishOptionValue(value)}" : "")} -d {Quoted(option.Description)}\n");
        }

        return text.ToString();
    }

    private static string FishNames(Option option) => string.Join(' ', Names(option).Select(n => n.StartsWith("--", StringComparison.Ordinal)
        ? $"-l {n[2..]}"
        : $"-s {Quoted(n[1..])}"));

    // -x: needs a value, and files are none of them.
    private static string FishOptionValue(ValueOption symbol) => symbol.Kind == ValueKind.File ? "-r -F" : symbol.Kind == ValueKind.OneOf ? $"-x {FishValue(symbol)}" : "-x";

    private static string FishValue(IDescribed symbol) => symbol.Kind switch
    {
        ValueKind.OneOf => $"-a '{string.Join(' ', symbol.Values)}'",
        ValueKind.File => "-F",
        _ => "-f",
    };

    private static IEnumerable<Command> Verbs(Command root) => root.Subcommands.Where(verb => !verb.Hidden);

    private static IEnumerable<Option> Options(Command verb, Command root) => verb.Options.Concat(root.Options.Where(o => o.Recursive));

    private static IEnumerable<string> Names(Option option) => option.Aliases.Order(StringComparer.Ordinal).Append(option.Name);

    // Single quotes of the three shells: nothing is special in them but the quote itself.
    private static string Quoted(string? text) => $"'{(text ?? "").Replace("'", "'\\''")}'";
}
