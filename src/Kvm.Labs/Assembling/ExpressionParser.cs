using System.Text;

namespace Kvm.Labs.Assembling;

/// <summary>Reads expressions: <c>| ^ &amp; &lt;&lt; &gt;&gt; + - * / %</c>, from loose to tight, with signs and parentheses.</summary>
internal static class ExpressionParser
{
    private static readonly string[][] _levels = [["|"], ["^"], ["&"], ["<<", ">>"], ["+", "-"], ["*", "/", "%"]];

    /// <summary>Calculations of one expression: a line is no longer, and evaluation is as deep as a line has signs.</summary>
    private const int MostSigns = 200;

    /// <summary>Reads one expression.</summary>
    /// <param name="reader">Where it begins.</param>
    /// <param name="scope">The label that names beginning with a dot belong to.</param>
    public static Expression Read(TokenReader reader, string scope)
    {
        int signs = 0;
        return ReadLevel(reader, scope, 0, 0, ref signs);
    }

    /// <summary>Reads one factor: a number, a name, or what is in parentheses, with its signs.</summary>
    public static Expression ReadFactor(TokenReader reader, string scope)
    {
        int signs = 0;
        return ReadUnary(reader, scope, 0, ref signs);
    }

    /// <summary>A name as the program knows it: one that begins with a dot belongs to the label before.</summary>
    public static string FullName(string name, string scope) => name.StartsWith('.') ? scope + name : name;

    private static Expression ReadLevel(TokenReader reader, string scope, int level, int depth, ref int signs)
    {
        if (level == _levels.Length)
            return ReadUnary(reader, scope, depth, ref signs);
        var left = ReadLevel(reader, scope, level + 1, depth, ref signs);
        while (reader.Now.Kind == TokenKind.Sign && Array.IndexOf(_levels[level], reader.Now.Text) >= 0)
        {
            if (++signs > MostSigns)
                throw new SourceException(reader.Now.Column, $"an expression has at most {MostSigns} calculations");
            string sign = reader.Take().Text;
            left = new BinaryExpression(left.Column, sign, left, ReadLevel(reader, scope, level + 1, depth, ref signs));
        }

        return left;
    }

    private static Expression ReadUnary(TokenReader reader, string scope, int depth, ref int signs)
    {
        var token = reader.Now;
        if (depth > AssemblerLimits.Depth)
            throw new SourceException(token.Column, $"parentheses and signs are more than {AssemblerLimits.Depth} deep");
        if (token.Is("-") || token.Is("~"))
        {
            reader.Take();
            return new UnaryExpression(token.Column, token.Text, ReadUnary(reader, scope, depth + 1, ref signs));
        }

        if (reader.TryTake("+"))
            return ReadUnary(reader, scope, depth + 1, ref signs);
        if (reader.TryTake("("))
        {
            var inside = ReadLevel(reader, scope, 0, depth + 1, ref signs);
            reader.Expect(")", "a closing parenthesis");
            return inside;
        }

        return ReadAtom(reader, scope);
    }

    private static Expression ReadAtom(TokenReader reader, string scope)
    {
        var token = reader.Take();
        return token.Kind switch
        {
            TokenKind.Number => new NumberExpression(token.Column, token.Value),
            TokenKind.Text => new NumberExpression(token.Column, Characters(token)),
            TokenKind.Word => new NameExpression(token.Column, FullName(token.Text, scope)),
            TokenKind.Sign when token.Text is "$" or "$$" => new PlaceExpression(token.Column, token.Text == "$$"),
            _ => throw new SourceException(token.Column, $"a number, a label or a constant is expected here, not {token.Shown}"),
        };
    }

    /// <summary>Up to eight characters as a number, the first in the lowest byte, as they lie in memory.</summary>
    private static long Characters(Token token)
    {
        var bytes = Encoding.UTF8.GetBytes(token.Text);
        if (bytes.Length is 0 or > 8)
            throw new SourceException(token.Column, "as a number a text has 1 to 8 characters; longer ones go behind db");
        ulong value = 0;
        for (int i = bytes.Length - 1; i >= 0; i--)
            value = value << 8 | bytes[i];
        return unchecked((long)value);
    }
}
