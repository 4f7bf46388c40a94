using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Kvm.Vmm.Tracing;

/// <summary>
/// A trace for chrome://tracing and Perfetto: the Trace Event Format's JSON array of complete events, a thread for each vCPU. Exits are as
/// long as the VMM took; between them the guest ran.
/// </summary>
internal sealed class ChromeTraceFormat(SymbolTable? symbols) : ITraceFormat
{
    private readonly ExitWords _words = new(symbols);
    private readonly ArrayBufferWriter<byte> _bytes = new(1024);
    private readonly Utf8JsonWriter _json = new(Stream.Null, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
    private readonly HashSet<int> _named = [];
    private bool _any;

    public void Begin(TraceOutput output) => output.TryAdd("{\"displayTimeUnit\":\"ns\",\"traceEvents\":["u8);

    public bool Write(TraceOutput output, in ExitSample sample)
    {
        if (_named.Add(sample.Vcpu) && !Name(output, sample.Vcpu))
            return false;
        Start();
        var (rip, instruction, symbol) = _words.Instruction(in sample);
        _json.WriteStartObject();
        _json.WriteString("name", $"{ExitWords.Reason(in sample)}{(ExitWords.Device(in sample) is { } device ? $" {device}" : "")}");
        _json.WriteString("cat", ExitWords.Reason(in sample));
        _json.WriteString("ph", "X");
        _json.WriteNumber("ts", sample.Time / 1000.0);
        _json.WriteNumber("dur", sample.Cost / 1000.0);
        _json.WriteNumber("pid", 1);
        _json.WriteNumber("tid", sample.Vcpu);
        _json.WriteStartObject("args");
        _json.WriteNumber("number", sample.Number);
        _json.WriteString("rip", string.Create(CultureInfo.InvariantCulture, $"0x{rip:x}"));
        _json.WriteString("symbol", symbol);
        _json.WriteString("instruction", instruction);
        _json.WriteString("did", ExitWords.Deed(in sample, instruction));
        _json.WriteEndObject();
        _json.WriteEndObject();
        return Add(output);
    }

    public void End(TraceOutput output, long lost) =>
        output.AddEnd(System.Text.Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"\n],\"otherData\":{{\"lostExits\":\"{lost}\"}}}}\n")));

    public void Dispose() => _json.Dispose();

    private bool Name(TraceOutput output, int vcpu)
    {
        Start();
        _json.WriteStartObject();
        _json.WriteString("name", "thread_name");
        _json.WriteString("ph", "M");
        _json.WriteNumber("pid", 1);
        _json.WriteNumber("tid", vcpu);
        _json.WriteStartObject("args");
        _json.WriteString("name", string.Create(CultureInfo.InvariantCulture, $"vcpu{vcpu}"));
        _json.WriteEndObject();
        _json.WriteEndObject();
        return Add(output);
    }

    private void Start()
    {
        _bytes.ResetWrittenCount();
        _bytes.Write(_any ? ",\n"u8 : "\n"u8);
        _json.Reset(_bytes);
    }

    private bool Add(TraceOutput output)
    {
        _json.Flush();
        bool added = output.TryAdd(_bytes.WrittenSpan);
        _any |= added;
        return added;
    }
}
