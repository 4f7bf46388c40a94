using System.Collections.Frozen;
using Iced.Intel;

namespace Kvm.Labs.Assembling;

/// <summary>Reads operands: <c>eax</c>, <c>5 + label</c>, <c>8:start</c>, <c>byte [es:rbx + rcx*4 - 2]</c>.</summary>
internal static class OperandParser
{
    private static readonly FrozenDictionary<string, int> _sizes = new Dictionary<string, int>(StringComparer.OrdinalIgnoreCase)
    {
        ["byte"] = 1,
        ["word"] = 2,
        ["dword"] = 4,
        ["qword"] = 8,
        ["oword"] = 16,
    }.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    /// <summary>Reads one operand.</summary>
    public static Operand Read(TokenReader reader, string scope)
    {
        int column = reader.Now.Column, size = 0;
        bool far = false, isShort = false;
        while (reader.Now.Kind == TokenKind.Word)
        {
            if (_sizes.TryGetValue(reader.Now.Text, out int said))
                size = said;
            else if (Is(reader, "far"))
                far = true;
            else if (Is(reader, "short"))
                isShort = true;
            else if (!Is(reader, "ptr") && !Is(reader, "near"))
                break;
            reader.Take();
        }

        return ReadBare(reader, scope, column) with { Size = size, Far = far, Short = isShort };
    }

    private static bool Is(TokenReader reader, string word) => reader.Now.Text.Equals(word, StringComparison.OrdinalIgnoreCase);

    private static Operand ReadBare(TokenReader reader, string scope, int column)
    {
        if (reader.TryTake("["))
            return ReadMemory(reader, scope, column);
        if (reader.Now.Kind == TokenKind.Word && Registers.Find(reader.Now.Text) is var register && register != Register.None)
        {
            reader.Take();
            return new RegisterOperand(column, register);
        }

        var value = ExpressionParser.Read(reader, scope);
        return reader.TryTake(":")
            ? new FarOperand(column, value, ExpressionParser.Read(reader, scope))
            : new ValueOperand(column, value);
    }

    private static MemoryOperand ReadMemory(TokenReader reader, string scope, int column)
    {
        var memory = new MemoryOperand(column);
        if (reader.TryTakeWord("rel"))
            memory = memory with { Relative = true };
        else
            reader.TryTakeWord("abs");
        if (reader.Now.Kind == TokenKind.Word && reader.Next.Is(":"))
        {
            var segment = reader.Take();
            var register = Registers.Find(segment.Text);
            if (!register.IsSegmentRegister())
                throw new SourceException(segment.Column, $"a segment register (es, cs, ss, ds, fs, gs) is expected here, not {segment.Shown}");
            reader.Take();
            memory = memory with { Segment = register };
        }

        memory = ReadTerms(reader, scope, memory);
        reader.Expect("]", "a closing bracket");
        if (memory.Relative && (memory.Base != Register.None || memory.Index != Register.None))
            throw new SourceException(column, "rel goes with a label alone, without registers");
        return memory;
    }

    private static MemoryOperand ReadTerms(TokenReader reader, string scope, MemoryOperand memory)
    {
        bool negative = false;
        while (true)
        {
            var token = reader.Now;
            if (token.Kind == TokenKind.Word && Registers.Find(token.Text) is var register && register != Register.None)
            {
                if (negative)
                    throw new SourceException(token.Column, "a register cannot be subtracted");
                reader.Take();
                memory = AddRegister(reader, memory, register, token);
            }
            else
            {
                memory = AddValue(memory, ReadTerm(reader, scope), negative);
            }

            negative = reader.Now.Is("-");
            if (!negative && !reader.Now.Is("+"))
                return memory;
            reader.Take();
        }
    }

    /// <summary>One summand: products and everything that binds tighter than a sum, so that registers may come between.</summary>
    private static Expression ReadTerm(TokenReader reader, string scope)
    {
        var left = ExpressionParser.ReadFactor(reader, scope);
        while (reader.Now.Kind == TokenKind.Sign && reader.Now.Text is "*" or "/" or "%" or "<<" or ">>" or "&" or "|" or "^")
        {
            string sign = reader.Take().Text;
            left = new BinaryExpression(left.Column, sign, left, ExpressionParser.ReadFactor(reader, scope));
        }

        return left;
    }

    private static MemoryOperand AddValue(MemoryOperand memory, Expression term, bool negative)
    {
        if (memory.Displacement is not { } before)
            return memory with { Displacement = negative ? new UnaryExpression(term.Column, "-", term) : term };
        return memory with { Displacement = new BinaryExpression(before.Column, negative ? "-" : "+", before, term) };
    }

    private static MemoryOperand AddRegister(TokenReader reader, MemoryOperand memory, Register register, Token token)
    {
        if (reader.TryTake("*"))
        {
            var scale = reader.Take();
            if (scale.Kind != TokenKind.Number || scale.Value is not (1 or 2 or 4 or 8))
                throw new SourceException(scale.Column, $"an index is multiplied by 1, 2, 4 or 8, not by {scale.Shown}");
            if (memory.Index != Register.None)
                throw new SourceException(token.Column, "an address has one index");
            return memory with { Index = register, Scale = (int)scale.Value };
        }

        if (memory.Base == Register.None)
            return memory with { Base = register };
        return memory.Index == Register.None
            ? memory with { Index = register }
            : throw new SourceException(token.Column, "an address has a base and an index, not three registers");
    }
}
