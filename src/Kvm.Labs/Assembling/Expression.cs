namespace Kvm.Labs.Assembling;

/// <summary>What names mean while a program is laid out.</summary>
internal interface INames
{
    /// <summary>The address of the statement in hand.</summary>
    long Here { get; }

    /// <summary>The address of the program's first byte.</summary>
    long Start { get; }

    /// <summary>What the name stands for; throws <see cref="SourceException"/> where it stands for nothing.</summary>
    long ValueOf(string name, int column);

    /// <summary>True if the name's value depends on where the program lies.</summary>
    bool IsAddress(string name);
}

/// <summary>A value that may depend on addresses: a number, a name, or a calculation.</summary>
/// <param name="Column">Where it begins, from 1.</param>
internal abstract record Expression(int Column)
{
    /// <summary>The value; arithmetic wraps at 64 bits.</summary>
    /// <exception cref="SourceException">A name stands for nothing, or a division is by zero.</exception>
    public abstract long Value(INames names);

    /// <summary>True if addresses go into it: its size is then not chosen by its value, which changes from pass to pass.</summary>
    public abstract bool IsAddress(INames names);
}

/// <summary>A number or character.</summary>
internal sealed record NumberExpression(int Column, long Number) : Expression(Column)
{
    public override long Value(INames names) => Number;

    public override bool IsAddress(INames names) => false;
}

/// <summary>A label or constant.</summary>
internal sealed record NameExpression(int Column, string Name) : Expression(Column)
{
    public override long Value(INames names) => names.ValueOf(Name, Column);

    public override bool IsAddress(INames names) => names.IsAddress(Name);
}

/// <summary><c>$</c> and <c>$$</c>.</summary>
internal sealed record PlaceExpression(int Column, bool Start) : Expression(Column)
{
    public override long Value(INames names) => Start ? names.Start : names.Here;

    public override bool IsAddress(INames names) => true;
}

/// <summary>A sign in front of a value.</summary>
internal sealed record UnaryExpression(int Column, string Sign, Expression Operand) : Expression(Column)
{
    public override long Value(INames names) => unchecked(Sign == "-" ? -Operand.Value(names) : ~Operand.Value(names));

    public override bool IsAddress(INames names) => Operand.IsAddress(names);
}

/// <summary>A calculation with two values.</summary>
internal sealed record BinaryExpression(int Column, string Sign, Expression Left, Expression Right) : Expression(Column)
{
    public override long Value(INames names)
    {
        long a = Left.Value(names), b = Right.Value(names);
        if (Sign is "/" or "%" && b is 0)
            throw new SourceException(Right.Column, "a division by zero");
        return unchecked(Sign switch
        {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            // The quotient of the least number and -1 does not fit, which the processor reports and the language wraps.
            "/" => b == -1 ? -a : a / b,
            "%" => b == -1 ? 0 : a % b,
            "<<" => b is >= 0 and < 64 ? a << (int)b : 0,
            ">>" => b is >= 0 and < 64 ? (long)((ulong)a >> (int)b) : 0,
            "&" => a & b,
            "^" => a ^ b,
            _ => a | b,
        });
    }

    public override bool IsAddress(INames names) => Left.IsAddress(names) || Right.IsAddress(names);
}
