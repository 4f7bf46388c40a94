using System.Globalization;
using Kvm.Vmm.Configuration;

namespace Kvm.Labs.Assembling;

/// <summary>What a token is.</summary>
internal enum TokenKind
{
    /// <summary>The end of the line.</summary>
    End,

    /// <summary>A name: a mnemonic, register, directive, label.</summary>
    Word,

    /// <summary>A number or a character.</summary>
    Number,

    /// <summary>A text in quotes.</summary>
    Text,

    /// <summary>A sign.</summary>
    Sign,
}

/// <summary>A piece of a line.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Column">Where it begins, from 1.</param>
/// <param name="Text">Its characters; of a text those between the quotes.</param>
/// <param name="Value">Of a number.</param>
internal readonly record struct Token(TokenKind Kind, int Column, string Text, long Value)
{
    /// <summary>Where the character behind it is.</summary>
    public int End { get; init; }

    /// <summary>True for this sign.</summary>
    public bool Is(string sign) => Kind == TokenKind.Sign && Text == sign;

    /// <summary>How it is called in a message.</summary>
    public string Shown => Kind switch
    {
        TokenKind.End => "the end of the line",
        TokenKind.Text => $"the text '{VisibleText.Escape(Text)}'",
        _ => $"'{VisibleText.Escape(Text)}'",
    };
}

/// <summary>Cuts one line into tokens.</summary>
internal static class Lexer
{
    private static readonly string[] _signs = ["<<", ">>", "$$", "$", "[", "]", "(", ")", "+", "-", "*", "/", "%", "&", "|", "^", "~", ",", ":"];

    /// <summary>The tokens of a line, the last of which is <see cref="TokenKind.End"/>.</summary>
    /// <exception cref="SourceException">A character or number is none of the language's.</exception>
    public static List<Token> Read(string line)
    {
        var tokens = new List<Token>();
        int at = 0;
        while (true)
        {
            while (at < line.Length && line[at] is ' ' or '\t' or '\r')
                at++;
            if (at >= line.Length || line[at] == ';')
            {
                tokens.Add(new Token(TokenKind.End, at + 1, "", 0) { End = at + 1 });
                return tokens;
            }

            int start = at;
            var token = line[at] switch
            {
                '\'' or '"' => Quoted(line, ref at),
                >= '0' and <= '9' => Number(line, ref at),
                var c when IsWordStart(c) => Word(line, ref at),
                _ => Sign(line, ref at),
            };
            tokens.Add(token with { Column = start + 1, End = at + 1 });
        }
    }

    private static bool IsWordStart(char c) => char.IsAsciiLetter(c) || c is '_' or '.' or '@';

    private static bool IsWord(char c) => IsWordStart(c) || char.IsAsciiDigit(c);

    private static Token Word(string line, ref int at)
    {
        int start = at;
        while (at < line.Length && IsWord(line[at]))
            at++;
        return new Token(TokenKind.Word, 0, line[start..at], 0);
    }

    private static Token Quoted(string line, ref int at)
    {
        int start = at;
        int end = line.IndexOf(line[at], at + 1);
        if (end < 0)
            throw new SourceException(start + 1, $"a text begins here and does not end: a {line[start]} is expected in the same line");
        at = end + 1;
        return new Token(TokenKind.Text, 0, line[(start + 1)..end], 0);
    }

    private static Token Number(string line, ref int at)
    {
        int start = at;
        while (at < line.Length && (char.IsAsciiLetterOrDigit(line[at]) || line[at] == '_'))
            at++;
        string text = line[start..at], digits = text.Replace("_", "", StringComparison.Ordinal);
        var (body, style) = digits switch
        {
            ['0', 'x' or 'X', ..] => (digits[2..], NumberStyles.AllowHexSpecifier),
            ['0', 'b' or 'B', ..] when digits[^1] is not ('h' or 'H') => (digits[2..], NumberStyles.AllowBinarySpecifier),
            [.., 'h' or 'H'] => (digits[..^1], NumberStyles.AllowHexSpecifier),
            _ => (digits, NumberStyles.None),
        };
        return ulong.TryParse(body, style, CultureInfo.InvariantCulture, out ulong value)
            ? new Token(TokenKind.Number, 0, text, unchecked((long)value))
            : throw new SourceException(start + 1, $"'{VisibleText.Escape(text)}' is no number of 64 bits: 10, 0x1f, 1fh and 0b1010 are");
    }

    private static Token Sign(string line, ref int at)
    {
        foreach (string sign in _signs)
        {
            if (line.AsSpan(at).StartsWith(sign, StringComparison.Ordinal))
            {
                at += sign.Length;
                return new Token(TokenKind.Sign, 0, sign, 0);
            }
        }

        throw new SourceException(at + 1, $"'{VisibleText.Escape(line[at].ToString())}' is no character of the language; a comment begins with ;");
    }
}
