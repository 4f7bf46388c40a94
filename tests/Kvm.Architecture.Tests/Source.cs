using System.Text;

namespace Kvm.Architecture.Tests;

/// <summary>Enough of C#'s lexical grammar to tell code from comments and literals, and functions from other braces.</summary>
internal static class Source
{
    /// <summary>A function, accessor or constructor with a body in braces.</summary>
    public readonly record struct Function(string Head, int Line, int Lines, bool IsDispatch);

    /// <summary>The text with comments and the insides of literals blanked; line breaks and length stay.</summary>
    public static string CodeOnly(string text)
    {
        var code = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length;)
        {
            var end = LiteralOrCommentEnd(text, i);
            if (end == i)
            {
                code.Append(text[i++]);
                continue;
            }

            for (; i < end; i++)
                code.Append(text[i] == '\n' ? '\n' : ' ');
        }

        return code.ToString();
    }

    /// <summary>Functions with braces; a brace belongs to a function if the brace around it belongs to a type.</summary>
    public static List<Function> Functions(string text)
    {
        var code = CodeOnly(text);
        var functions = new List<Function>();
        var open = new Stack<(char Kind, int Start, string Head)>();
        for (var i = 0; i < code.Length; i++)
        {
            if (code[i] == '{')
            {
                open.Push(Classify(code, i, open.Count == 0 ? 'n' : open.Peek().Kind));
            }
            else if (code[i] == '}' && open.TryPop(out var brace) && brace.Kind == 'f')
            {
                var first = 1 + code.AsSpan(0, brace.Start).Count('\n');
                var lines = 1 + code.AsSpan(brace.Start, i - brace.Start).Count('\n');
                functions.Add(new(brace.Head, first, lines, code[brace.Start..i].Contains("switch", StringComparison.Ordinal)));
            }
        }

        return functions;
    }

    // n: namespace, t: type, p: property or event (its accessors are functions), f: function, b: anything inside one.
    private static (char Kind, int Start, string Head) Classify(string code, int brace, char parent)
    {
        var from = code.LastIndexOfAny([';', '{', '}'], Math.Max(brace - 1, 0)) + 1;
        var head = string.Join(' ', code[from..brace].Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        var words = head.Split(' ', '(', '<');
        if (parent is 'f' or 'b')
            return ('b', brace, head);
        if (parent == 'p')
            return ('f', brace, head);
        if (words.Contains("namespace"))
            return ('n', brace, head);
        if (words.Any(word => word is "class" or "struct" or "interface" or "enum" or "record"))
            return ('t', brace, head);
        if (head.Contains('=', StringComparison.Ordinal) && !head.Contains("operator", StringComparison.Ordinal))
            return ('b', brace, head);
        return head.Contains('(', StringComparison.Ordinal) ? ('f', brace, head) : ('p', brace, head);
    }

    private static int LiteralOrCommentEnd(string text, int i)
    {
        if (StartsAt(text, i, "//"))
            return IndexOrEnd(text, "\n", i, 0);
        if (StartsAt(text, i, "/*"))
            return IndexOrEnd(text, "*/", i + 2, 2);
        if (StartsAt(text, i, "\"\"\""))
            return RawEnd(text, i);
        if (text[i] == '\'')
            return QuotedEnd(text, i, '\'', verbatim: false);
        return text[i] == '"' ? QuotedEnd(text, i, '"', IsVerbatim(text, i)) : i;
    }

    private static bool StartsAt(string text, int i, string what) => string.CompareOrdinal(text, i, what, 0, what.Length) == 0;

    private static int IndexOrEnd(string text, string what, int from, int extra)
    {
        var at = text.IndexOf(what, from, StringComparison.Ordinal);
        return at < 0 ? text.Length : at + extra;
    }

    private static bool IsVerbatim(string text, int quote) =>
        quote > 0 && (text[quote - 1] == '@' || (text[quote - 1] == '$' && quote > 1 && text[quote - 2] == '@'));

    private static int RawEnd(string text, int i)
    {
        var quotes = 0;
        while (i + quotes < text.Length && text[i + quotes] == '"')
            quotes++;
        return IndexOrEnd(text, new string('"', quotes), i + quotes, quotes);
    }

    private static int QuotedEnd(string text, int i, char quote, bool verbatim)
    {
        for (i++; i < text.Length; i++)
        {
            if (text[i] == '\\' && !verbatim)
                i++;
            else if (text[i] == quote && !(verbatim && i + 1 < text.Length && text[i + 1] == quote))
                return i + 1;
            else if (text[i] == quote)
                i++;
        }

        return text.Length;
    }
}
