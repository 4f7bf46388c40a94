using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Vmm.Explain;

namespace Kvm.Vmm.Tracing;

/// <summary>A trace as one JSON object a line (docs/cli.md, "trace").</summary>
internal sealed class JsonTraceFormat(SymbolTable? symbols, JavaScriptEncoder? encoder = null) : ITraceFormat
{
    private readonly ExitWords _words = new(symbols);
    private readonly ArrayBufferWriter<byte> _bytes = new(2048);
    private readonly Utf8JsonWriter _json = new(Stream.Null, new JsonWriterOptions { Encoder = encoder ?? JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    public void Begin(TraceOutput output)
    {
    }

    public bool Write(TraceOutput output, in ExitSample sample) => output.TryAdd(Line(default, in sample));

    /// <summary>One exit as a line, valid until the next call.</summary>
    /// <param name="before">What comes before the object.</param>
    /// <param name="sample">The exit.</param>
    public ReadOnlySpan<byte> Line(ReadOnlySpan<byte> before, in ExitSample sample)
    {
        _bytes.ResetWrittenCount();
        _bytes.Write(before);
        _json.Reset(_bytes);
        WriteExit(in sample);
        _json.Flush();
        _bytes.Write("\n"u8);
        return _bytes.WrittenSpan;
    }

    public void End(TraceOutput output, long lost)
    {
        if (lost > 0)
            output.AddEnd(System.Text.Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{{\"lost\":{lost}}}\n")));
    }

    public void Dispose() => _json.Dispose();

    private void WriteExit(in ExitSample sample)
    {
        var (rip, instruction, symbol) = _words.Instruction(in sample);
        _json.WriteStartObject();
        _json.WriteNumber("number", sample.Number);
        _json.WriteNumber("timeNs", sample.Time);
        _json.WriteNumber("vcpu", sample.Vcpu);
        _json.WriteString("reason", ExitWords.Reason(in sample));
        _json.WriteString("kvm", ExitTables.KvmName((uint)sample.Reason));
        var cause = ExitWords.Cause(in sample);
        _json.WriteString("vmx", cause is { Vmx.Count: > 0 } ? cause.VmxText : null);
        _json.WriteString("svm", cause is { Svm.Count: > 0 } ? cause.SvmText : null);
        _json.WriteString("vmxClause", cause?.VmxSource);
        _json.WriteString("svmClause", cause?.SvmSource);
        _json.WriteString("rip", Hex(rip));
        _json.WriteString("symbol", symbol);
        _json.WriteString("instruction", instruction);
        if (sample.Size != 0)
            WriteAccess(in sample);
        _json.WriteStartObject("changed");
        for (int i = 0; i < TracedRegisters.Length; i++)
        {
            if ((sample.Changed >> i & 1) != 0)
                _json.WriteString(TracedRegisters.Names[i], Hex(sample.Registers[i]));
        }

        _json.WriteEndObject();
        _json.WriteString("did", ExitWords.Deed(in sample, instruction));
        _json.WriteNumber("costNs", sample.Cost);
        _json.WriteEndObject();
    }

    private void WriteAccess(in ExitSample sample)
    {
        _json.WriteString("address", Hex(sample.Address));
        _json.WriteString("device", ExitWords.Device(in sample));
        _json.WriteBoolean("write", sample.IsWrite);
        _json.WriteNumber("size", sample.Size);
        _json.WriteNumber("count", sample.Count);
        _json.WriteString("value", Hex(sample.Value));
    }

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
