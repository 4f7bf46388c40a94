namespace Kvm.Labs.Assembling;

/// <summary>The tokens of a line, read from left to right.</summary>
internal sealed class TokenReader(IReadOnlyList<Token> tokens)
{
    private int _at;

    /// <summary>The token in hand.</summary>
    public Token Now => tokens[_at];

    /// <summary>The token behind it.</summary>
    public Token Next => tokens[Math.Min(_at + 1, tokens.Count - 1)];

    /// <summary>True behind the last token.</summary>
    public bool AtEnd => Now.Kind == TokenKind.End;

    /// <summary>The token in hand, which is left behind.</summary>
    public Token Take()
    {
        var token = Now;
        if (!AtEnd)
            _at++;
        return token;
    }

    /// <summary>Leaves the sign behind if it is in hand.</summary>
    public bool TryTake(string sign)
    {
        if (!Now.Is(sign))
            return false;
        _at++;
        return true;
    }

    /// <summary>Leaves the word behind if it is in hand, however it is written.</summary>
    public bool TryTakeWord(string word)
    {
        if (Now.Kind != TokenKind.Word || !Now.Text.Equals(word, StringComparison.OrdinalIgnoreCase))
            return false;
        _at++;
        return true;
    }

    /// <summary>Leaves the sign behind, which has to be there.</summary>
    public void Expect(string sign, string what)
    {
        if (!TryTake(sign))
            throw new SourceException(Now.Column, $"{what} is expected here, not {Now.Shown}");
    }

    /// <summary>Everything has to be read by now.</summary>
    public void ExpectEnd()
    {
        if (!AtEnd)
            throw new SourceException(Now.Column, $"the line should end here; {Now.Shown} is too much");
    }
}
