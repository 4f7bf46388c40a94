using System.Buffers.Binary;
using System.Numerics;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Tracing;

/// <summary>How a replay ended.</summary>
/// <param name="Exits">Exits that were read.</param>
/// <param name="Shown">Exits that were shown.</param>
/// <param name="Lost">Exits that are missing, as the trace says; null where it has no end.</param>
public readonly record struct ReplayResult(long Exits, long Shown, long? Lost);

/// <summary>Reads a recorded trace and writes it in another form. Trusts nothing in the file; keeps one exit and a set of registers for each vCPU.</summary>
public static class TraceReader
{
    private const int MostVcpus = VmConfig.MaxCpus;

    /// <summary>Replays a trace; what precedes a fault of the file is shown before it is told.</summary>
    /// <param name="input">The file, from its beginning.</param>
    /// <param name="name">Its name, for messages.</param>
    /// <param name="filter">Which exits.</param>
    /// <param name="format">In which form.</param>
    /// <param name="output">Where they go; stays open.</param>
    /// <param name="most">How much may go there.</param>
    /// <param name="symbols">Names of the guest's addresses, or null.</param>
    /// <exception cref="VmmException">The file is no trace, or contradicts itself: KVM0028.</exception>
    /// <exception cref="IOException">The output takes nothing any more.</exception>
    public static ReplayResult Replay(Stream input, string name, TraceFilter filter, TraceFormat format, Stream output, long most, SymbolTable? symbols)
    {
        ArgumentNullException.ThrowIfNull(input);
        ArgumentNullException.ThrowIfNull(filter);
        ArgumentNullException.ThrowIfNull(output);
        var reading = new Reading(input, name);
        reading.CheckHeader();
        using var form = TraceFormats.Create(format, symbols);
        var written = new TraceOutput(output, most);
        form.Begin(written);
        try
        {
            long shown = 0;
            while (shown < filter.Count && reading.TryNext())
            {
                ref readonly var sample = ref reading.Sample;
                if (sample.Number < filter.From || !filter.Shows(sample.Reason, sample.Address))
                    continue;
                form.Write(written, in sample);
                shown++;
            }

            return new ReplayResult(reading.Exits, shown, reading.Lost);
        }
        finally
        {
            form.End(written, reading.Lost ?? 0);
            written.Flush();
        }
    }

    private sealed class Reading(Stream input, string name)
    {
        private readonly byte[] _record = new byte[BinaryTraceFormat.MostBytes];
        private readonly TracedRegisters?[] _registers = new TracedRegisters?[MostVcpus];
        private ExitSample _sample;
        private long _offset;

        public ref readonly ExitSample Sample => ref _sample;

        public long Exits { get; private set; }

        public long? Lost { get; private set; }

        public void CheckHeader()
        {
            var header = _record.AsSpan(0, BinaryTraceFormat.HeaderSize);
            if (Fill(header) < header.Length || !header.StartsWith(BinaryTraceFormat.Magic))
                throw Bad("it does not begin as a trace does");
            uint version = BinaryPrimitives.ReadUInt32LittleEndian(header[12..]);
            if (version != BinaryTraceFormat.Version)
                throw Bad($"its version is {version}, not {BinaryTraceFormat.Version}");
        }

        /// <summary>The next exit; false at the end, also where the file was cut.</summary>
        public bool TryNext()
        {
            var length = _record.AsSpan(0, 2);
            if (Lost is not null || Fill(length) < 2)
                return false;
            int size = BinaryPrimitives.ReadUInt16LittleEndian(length);
            if (size is 0 || size > _record.Length - 2)
                throw Bad($"a record of {size} bytes");
            var body = _record.AsSpan(2, size);
            if (Fill(body) < size)
                return false;
            if (body[0] == BinaryTraceFormat.EndKind && size == 9)
            {
                Lost = (long)Math.Min(long.MaxValue, BinaryPrimitives.ReadUInt64LittleEndian(body[1..]));
                return false;
            }

            if (body[0] != BinaryTraceFormat.ExitKind || size < BinaryTraceFormat.FixedSize - 2)
                throw Bad($"a record of kind {body[0]} and {size} bytes");
            Decode(body);
            Exits++;
            return true;
        }

        private void Decode(ReadOnlySpan<byte> body)
        {
            _sample = new ExitSample
            {
                Number = (long)(U64(body, 1) & long.MaxValue),
                Time = (long)(U64(body, 9) & long.MaxValue),
                Cost = (long)(U64(body, 17) & long.MaxValue),
                Address = U64(body, 25),
                Value = U64(body, 33),
                Rip = U64(body, 41),
                Count = BinaryPrimitives.ReadUInt32LittleEndian(body[49..]),
                Changed = BinaryPrimitives.ReadUInt32LittleEndian(body[53..]),
                Reason = (KvmExit)BinaryPrimitives.ReadUInt32LittleEndian(body[57..]),
                Vcpu = BinaryPrimitives.ReadUInt16LittleEndian(body[61..]),
                Size = body[63],
                Bitness = body[64],
                IsWrite = (body[65] & 1) != 0,
                GoesOn = (body[65] & 2) != 0,
                CodeBefore = body[66],
                CodeLength = body[67],
            };
            if (_sample.Vcpu >= MostVcpus || _sample.Size > 8 || _sample.Bitness is not (16 or 32 or 64) || _sample.CodeLength > TracedCode.Length
                || _sample.CodeBefore > Math.Min((int)_sample.CodeLength, TracedCode.MostBefore) || _sample.Changed >> TracedRegisters.Length != 0
                || body.Length != BinaryTraceFormat.FixedSize - 2 + _sample.CodeLength + (sizeof(ulong) * BitOperations.PopCount(_sample.Changed)))
            {
                throw Bad("an exit that contradicts itself");
            }

            var rest = body[(BinaryTraceFormat.FixedSize - 2)..];
            rest[.._sample.CodeLength].CopyTo(_sample.Code);
            TakeRegisters(rest[_sample.CodeLength..]);
        }

        private void TakeRegisters(ReadOnlySpan<byte> values)
        {
            var registers = _registers[_sample.Vcpu] ?? default;
            for (int i = 0; i < TracedRegisters.Length; i++)
            {
                if ((_sample.Changed >> i & 1) == 0)
                    continue;
                registers[i] = U64(values, 0);
                values = values[sizeof(ulong)..];
            }

            _sample.Registers = registers;
            _registers[_sample.Vcpu] = registers;
        }

        private int Fill(Span<byte> to)
        {
            try
            {
                int read = input.ReadAtLeast(to, to.Length, throwOnEndOfStream: false);
                _offset += read;
                return read;
            }
            catch (IOException e)
            {
                throw Bad(HostFailureText.Of(e));
            }
        }

        private VmmException Bad(string what) => new(UsageErrors.BadTrace, $"{VisibleText.Quote(name)} at offset 0x{_offset:x}: {what}");

        private static ulong U64(ReadOnlySpan<byte> at, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(at[offset..]);
    }
}
