using System.Buffers;
using System.Globalization;
using System.Text;
using Kvm.Vmm.Explain;

namespace Kvm.Vmm.Tracing;

/// <summary>A trace for people: four lines for an exit.</summary>
internal sealed class TextTraceFormat(SymbolTable? symbols) : ITraceFormat
{
    private readonly ExitWords _words = new(symbols);
    private readonly StringBuilder _text = new();
    private readonly ArrayBufferWriter<byte> _bytes = new(1024);

    public void Begin(TraceOutput output)
    {
    }

    public bool Write(TraceOutput output, in ExitSample sample)
    {
        var (rip, instruction, symbol) = _words.Instruction(in sample);
        _text.Clear();
        Append($"#{sample.Number} {sample.Time / 1e9:f6}s vcpu{sample.Vcpu} {ExitTables.KvmName((uint)sample.Reason)}");
        if (ExitWords.Cause(in sample) is { } cause)
            Append($" | VT-x {cause.VmxText} | AMD-V {cause.SvmText} | {string.Join("; ", new[] { cause.VmxSource, cause.SvmSource }.OfType<string>())}");
        Append($"\n    {rip:x}{(symbol is null ? "" : $" {symbol}")}: {(instruction.Length == 0 ? "(no code)" : instruction)}");
        Append($"\n    {ExitWords.Deed(in sample, instruction)}, {sample.Cost / 1e3:f1} us\n");
        AppendChanged(in sample);
        _bytes.ResetWrittenCount();
        Encoding.UTF8.GetBytes(_text.ToString(), _bytes);
        return output.TryAdd(_bytes.WrittenSpan);
    }

    public void End(TraceOutput output, long lost)
    {
        if (lost > 0)
            output.AddEnd(Encoding.UTF8.GetBytes($"# {lost} exits were left away\n"));
    }

    private void AppendChanged(in ExitSample sample)
    {
        if (sample.Changed == 0)
            return;
        _text.Append("   ");
        for (int i = 0; i < TracedRegisters.Length; i++)
        {
            if ((sample.Changed >> i & 1) != 0)
                Append($" {TracedRegisters.Names[i]}={sample.Registers[i]:x}");
        }

        _text.Append('\n');
    }

    private void Append(FormattableString text) => _text.Append(CultureInfo.InvariantCulture, $"{text.ToString(CultureInfo.InvariantCulture)}");
}
