using Iced.Intel;

namespace Kvm.Labs.Assembling;

/// <summary>Chooses the encoding of an instruction: of those its operands fit, the shortest.</summary>
internal sealed class InstructionEncoder(INames names)
{
    private const int MostBytes = 15;

    private readonly BytesWriter _writer = new();
    private readonly Dictionary<int, Encoder> _encoders = [];

    /// <summary>Encodes.</summary>
    /// <param name="statement">What.</param>
    /// <param name="bits">16, 32 or 64.</param>
    /// <param name="final">True when all addresses are what they will be: only then a target out of reach is a mistake.</param>
    /// <returns>The bytes; valid until the next call.</returns>
    /// <exception cref="SourceException">No encoding fits.</exception>
    public ReadOnlySpan<byte> Encode(InstructionStatement statement, int bits, bool final)
    {
        var matcher = new OperandMatcher(names, statement, bits);
        var fitting = statement.Codes.Where(matcher.Fits).ToList();
        if (fitting.Count == 0)
            throw new SourceException(statement.Column, Mismatch(statement, bits));
        matcher.CheckSize(fitting);
        byte[]? best = null;
        string? problem = null;
        foreach (var code in fitting)
        {
            // A jump that once did not reach stays long, or passes might go on for ever.
            if (statement.NeedsNear && matcher.IsShortJump(code))
                continue;
            var instruction = matcher.Make(code);
            if (TryEncode(instruction, bits, out string? error))
            {
                if (best is null || _writer.Length < best.Length)
                    best = _writer.Bytes.ToArray();
            }
            else
            {
                problem ??= error;
                statement.NeedsNear |= matcher.IsShortJump(code) && fitting.Count > 1;
            }
        }

        if (best is not null)
            return best;
        if (!final)
            return new byte[MostBytes];
        throw new SourceException(statement.Column, $"{statement.Name} cannot be encoded: {problem}");
    }

    private bool TryEncode(in Instruction instruction, int bits, out string? error)
    {
        if (!_encoders.TryGetValue(bits, out var encoder))
            _encoders[bits] = encoder = Encoder.Create(bits, _writer);
        _writer.Clear();
        return encoder.TryEncode(instruction, unchecked((ulong)names.Here), out _, out error);
    }

    private static string Mismatch(InstructionStatement statement, int bits)
    {
        string given = statement.Operands.Count == 0 ? "no operands" : string.Join(", ", statement.Operands.Select(operand => operand.Shown));
        var forms = statement.Codes.Select(code => code.ToOpCode()).Where(info => OperandMatcher.HasMode(info, bits)).Select(info => info.ToInstructionString().ToLowerInvariant()).Distinct().ToList();
        if (forms.Count == 0)
            return $"{statement.Name} does not exist in {bits}-bit code";
        string more = forms.Count > 6 ? ", …" : "";
        string hint = statement.Operands.Any(operand => operand is ValueOperand) ? ", and a value has to fit" : "";
        return $"{statement.Name} does not go with {given} in {bits}-bit code; it is one of: {string.Join(" | ", forms.Take(6))}{more}{hint}";
    }

    private sealed class BytesWriter : CodeWriter
    {
        private readonly byte[] _bytes = new byte[MostBytes + 1];

        public int Length { get; private set; }

        public ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, Length);

        public void Clear() => Length = 0;

        public override void WriteByte(byte value)
        {
            if (Length < _bytes.Length)
                _bytes[Length++] = value;
        }
    }
}
