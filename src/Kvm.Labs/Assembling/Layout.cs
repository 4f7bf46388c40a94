using System.Buffers.Binary;
using System.Text;

namespace Kvm.Labs.Assembling;

/// <summary>Gives statements their addresses and bytes, pass by pass.</summary>
internal sealed class Layout
{
    private readonly List<Statement> _statements;
    private readonly SymbolTable _symbols;
    private readonly InstructionEncoder _encoder;
    private readonly List<ListedBytes> _listing = [];
    private byte[] _image = new byte[4096];
    private long _origin;
    private long _size;
    private long _count;
    private int _bits;
    private int _entryBits;
    private bool _placed;

    public Layout(List<Statement> statements)
    {
        _statements = statements;
        _symbols = new SymbolTable(statements);
        _encoder = new InstructionEncoder(_symbols);
    }

    /// <summary>One pass. False if an address changed, so that another one is needed.</summary>
    /// <param name="final">True for the pass whose bytes count.</param>
    /// <param name="errors">Where mistakes go.</param>
    public bool Run(bool final, List<SourceError> errors)
    {
        (_size, _count, _bits, _entryBits, _placed) = (0, 0, 16, 0, false);
        _origin = _symbols.Start = _symbols.Here = Assembler.DefaultOrigin;
        _symbols.BeginPass();
        _listing.Clear();
        foreach (var statement in _statements)
        {
            try
            {
                Place(statement, final);
            }
            catch (SourceException e)
            {
                errors.Add(new SourceError(statement.Line, e.Column, e.Message));
                if (errors.Count >= AssemblerLimits.Errors || e is LimitException)
                    break;
            }
        }

        return _symbols.EndPass();
    }

    /// <summary>What the final pass made.</summary>
    public AssembledProgram ToProgram(string[] lines) => new()
    {
        Origin = (uint)_origin,
        Image = _image[..(int)_size],
        Bits = _entryBits == 0 ? 16 : _entryBits,
        Symbols = _symbols.All(),
        Listing = [.. _listing],
        Lines = lines,
    };

    private void Place(Statement statement, bool final)
    {
        long times = 1;
        if (statement.Times is { } repeated)
        {
            times = repeated.Value(_symbols);
            if (times is < 0 or > AssemblerLimits.Repetitions)
                throw new SourceException(repeated.Column, $"times takes 0 to {AssemblerLimits.Repetitions:#,0}, not {times:#,0}");
        }

        for (long i = 0; i < times; i++)
        {
            if (++_count > AssemblerLimits.Statements)
                throw new LimitException(statement.Column, $"a program has at most {AssemblerLimits.Statements:#,0} instructions and directives");
            PlaceOnce(statement, final);
        }
    }

    private void PlaceOnce(Statement statement, bool final)
    {
        switch (statement)
        {
            case LabelStatement label:
                _symbols.Define(label.Name, _symbols.Here, label.Column);
                break;
            case ConstantStatement constant:
                _symbols.Define(constant.Name, constant.Value.Value(_symbols), constant.Column);
                break;
            case BitsStatement bits:
                _bits = bits.Bits;
                break;
            case OriginStatement origin:
                MoveTo(origin);
                break;
            case AlignStatement align:
                Align(align);
                break;
            case ReserveStatement reserve:
                Reserve(reserve);
                break;
            case DataStatement data:
                foreach (var item in data.Items)
                    Add(data, item, final);
                break;
            case InstructionStatement instruction:
                _entryBits = _entryBits == 0 ? _bits : _entryBits;
                Append(instruction, _encoder.Encode(instruction, _bits, final), _bits);
                break;
        }
    }

    private void MoveTo(OriginStatement statement)
    {
        long address = statement.Address.Value(_symbols);
        if (address is < 0 or > uint.MaxValue)
            throw new SourceException(statement.Address.Column, $"org takes an address below 4 GiB, not {address:x}");
        if (!_placed)
        {
            _placed = true;
            _origin = _symbols.Start = _symbols.Here = address;
            return;
        }

        if (address < _symbols.Here)
            throw new SourceException(statement.Address.Column, $"org cannot go back: the program has come to 0x{_symbols.Here:x}");
        Fill(statement.Column, address - _symbols.Here);
    }

    private void Align(AlignStatement statement)
    {
        long boundary = statement.Boundary.Value(_symbols);
        if (boundary is < 1 or > 1 << 16 || (boundary & (boundary - 1)) != 0)
            throw new SourceException(statement.Boundary.Column, $"align takes a power of two to 65,536, not {boundary:#,0}");
        Fill(statement.Column, -_symbols.Here & (boundary - 1));
    }

    private void Reserve(ReserveStatement statement)
    {
        long count = statement.Count.Value(_symbols);
        if (count is < 0 or > AssemblerLimits.Image)
            throw new SourceException(statement.Count.Column, $"0 to {AssemblerLimits.Image:#,0} can be reserved, not {count:#,0}");
        Fill(statement.Column, count * statement.Size);
    }

    private void Add(DataStatement data, DataItem item, bool final)
    {
        if (item.Text is { } text)
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            Append(data, bytes, 0);
            Fill(data.Column, -bytes.Length & (data.Size - 1));
            return;
        }

        long value = item.Value!.Value(_symbols);
        if (final && !OperandKinds.Holds(new ImmediateForm(default, data.Size, data.Size, false), value))
            throw new SourceException(item.Column, $"the value {value:#,0} does not fit {data.Size * 8} bits");
        Span<byte> buffer = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(buffer, value);
        Append(data, buffer[..data.Size], 0);
    }

    private void Fill(int column, long count)
    {
        var start = (int)_size;
        Grow(column, count);
        _image.AsSpan(start, (int)count).Clear();
    }

    private void Append(Statement statement, ReadOnlySpan<byte> bytes, int bits)
    {
        if (bytes.Length == 0)
            return;
        long address = _symbols.Here;
        var start = (int)_size;
        Grow(statement.Column, bytes.Length);
        bytes.CopyTo(_image.AsSpan(start));
        _listing.Add(new ListedBytes((uint)address, bytes.Length, statement.Line, bits));
    }

    private void Grow(int column, long count)
    {
        if (count > AssemblerLimits.Image - _size)
            throw new LimitException(column, $"the program would be larger than {AssemblerLimits.Image:#,0} bytes");
        if (count > uint.MaxValue - _symbols.Here)
            throw new LimitException(column, "the program would reach beyond 4 GiB");
        _placed = true;
        _size += count;
        _symbols.Here += count;
        if (_size > _image.Length)
            Array.Resize(ref _image, (int)Math.Max(_size, Math.Min(_image.Length * 2L, AssemblerLimits.Image)));
    }
}

/// <summary>The program is too large: what comes behind would only say so again.</summary>
internal sealed class LimitException(int column, string message) : SourceException(column, message);
