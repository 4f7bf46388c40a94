using Kvm.Vmm.Configuration;

namespace Kvm.Labs.Assembling;

/// <summary>Reads lines into statements.</summary>
internal sealed class StatementParser
{
    private static readonly string[] _directives =
        ["db", "dw", "dd", "dq", "resb", "resw", "resd", "resq", "org", "bits", "align", "times", "equ"];

    private string _scope = "";

    /// <summary>Appends what a line says.</summary>
    /// <param name="text">The line without its end.</param>
    /// <param name="line">Its number, from 1.</param>
    /// <param name="statements">Where statements go.</param>
    /// <exception cref="SourceException">The line cannot be understood.</exception>
    public void Read(string text, int line, List<Statement> statements)
    {
        if (text.Length > AssemblerLimits.Line)
            throw new SourceException(AssemblerLimits.Line + 1, $"a line has at most {AssemblerLimits.Line} characters; this one has {text.Length}");
        var reader = new TokenReader(Lexer.Read(text));
        if (reader.Now.Kind == TokenKind.Word && reader.Next.Is(":"))
        {
            var label = reader.Take();
            reader.Take();
            statements.Add(new LabelStatement(line, label.Column, Define(label)));
        }

        if (reader.AtEnd)
            return;
        if (reader.Now.Kind == TokenKind.Word && reader.Next is { Kind: TokenKind.Word } next && next.Text.Equals("equ", StringComparison.OrdinalIgnoreCase))
        {
            var name = reader.Take();
            reader.Take();
            CheckName(name);
            statements.Add(new ConstantStatement(line, name.Column, ExpressionParser.FullName(name.Text, _scope), ExpressionParser.Read(reader, _scope)));
        }
        else
        {
            statements.Add(ReadTimed(reader, line));
        }

        reader.ExpectEnd();
    }

    private string Define(Token label)
    {
        CheckName(label);
        if (!label.Text.StartsWith('.'))
            _scope = label.Text;
        return ExpressionParser.FullName(label.Text, _scope);
    }

    private static void CheckName(Token name)
    {
        if (Registers.Find(name.Text) != Iced.Intel.Register.None)
            throw new SourceException(name.Column, $"{name.Shown} is a register and cannot be the name of a label");
    }

    private Statement ReadTimed(TokenReader reader, int line)
    {
        if (!reader.TryTakeWord("times"))
            return ReadStatement(reader, line);
        var count = ExpressionParser.Read(reader, _scope);
        return ReadStatement(reader, line) with { Times = count };
    }

    private Statement ReadStatement(TokenReader reader, int line)
    {
        var word = reader.Take();
        if (word.Kind != TokenKind.Word)
            throw new SourceException(word.Column, $"a label, an instruction or a directive is expected here, not {word.Shown}");
        return word.Text.ToLowerInvariant() switch
        {
            "db" => ReadData(reader, line, word.Column, 1),
            "dw" => ReadData(reader, line, word.Column, 2),
            "dd" => ReadData(reader, line, word.Column, 4),
            "dq" => ReadData(reader, line, word.Column, 8),
            "resb" => new ReserveStatement(line, word.Column, 1, ExpressionParser.Read(reader, _scope)),
            "resw" => new ReserveStatement(line, word.Column, 2, ExpressionParser.Read(reader, _scope)),
            "resd" => new ReserveStatement(line, word.Column, 4, ExpressionParser.Read(reader, _scope)),
            "resq" => new ReserveStatement(line, word.Column, 8, ExpressionParser.Read(reader, _scope)),
            "org" => new OriginStatement(line, word.Column, ExpressionParser.Read(reader, _scope)),
            "align" => new AlignStatement(line, word.Column, ExpressionParser.Read(reader, _scope)),
            "bits" => ReadBits(reader, line, word.Column),
            _ => ReadInstruction(reader, line, word),
        };
    }

    private static BitsStatement ReadBits(TokenReader reader, int line, int column)
    {
        var bits = reader.Take();
        return bits is { Kind: TokenKind.Number, Value: 16 or 32 or 64 }
            ? new BitsStatement(line, column, (int)bits.Value)
            : throw new SourceException(bits.Column, $"bits 16, bits 32 or bits 64 is expected, not {bits.Shown}");
    }

    private DataStatement ReadData(TokenReader reader, int line, int column, int size)
    {
        var items = new List<DataItem>();
        do
        {
            var token = reader.Now;
            // A text alone is its bytes; in a calculation it is a number.
            if (token.Kind == TokenKind.Text && (reader.Next.Kind == TokenKind.End || reader.Next.Is(",")))
                items.Add(new DataItem(token.Column, null, reader.Take().Text));
            else
                items.Add(new DataItem(token.Column, ExpressionParser.Read(reader, _scope), null));
        }
        while (reader.TryTake(","));
        return new DataStatement(line, column, size, items);
    }

    private InstructionStatement ReadInstruction(TokenReader reader, int line, Token word)
    {
        var prefixes = InstructionPrefixes.None;
        var name = word;
        while (PrefixOf(name.Text) is var prefix && prefix != InstructionPrefixes.None)
        {
            prefixes |= prefix;
            name = reader.Take();
            if (name.Kind != TokenKind.Word)
                throw new SourceException(name.Column, $"an instruction is expected behind the prefix, not {name.Shown}");
        }

        var codes = InstructionTable.Find(name.Text);
        if (codes.Count == 0)
            throw new SourceException(name.Column, Unknown(name));
        var operands = new List<Operand>();
        if (!reader.AtEnd)
        {
            do
                operands.Add(OperandParser.Read(reader, _scope));
            while (reader.TryTake(","));
        }

        // Both orders mean the same, and encodings have the memory first.
        if (name.Text.ToLowerInvariant() is "xchg" or "test" && operands is [RegisterOperand, MemoryOperand])
            operands.Reverse();
        return new InstructionStatement(line, word.Column, name.Text.ToLowerInvariant(), operands, prefixes) { Codes = codes };
    }

    private static string Unknown(Token name) => NearestName.Find(name.Text.ToLowerInvariant(), InstructionTable.Names.Concat(_directives)) is { } near
        ? $"there is no instruction or directive {name.Shown}; did you mean '{near}'?"
        : $"there is no instruction or directive {name.Shown}; a label ends with a colon";

    private static InstructionPrefixes PrefixOf(string word) => word.ToLowerInvariant() switch
    {
        "lock" => InstructionPrefixes.Lock,
        "rep" or "repe" or "repz" => InstructionPrefixes.Repeat,
        "repne" or "repnz" => InstructionPrefixes.RepeatNotEqual,
        _ => InstructionPrefixes.None,
    };
}
