using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Iced.Intel;
using Kvm.X86.Translate;

namespace Kvm.Vmm.Reporting;

/// <summary>The translation table as JSON (docs/cli.md, "translate"): members are added, never renamed.</summary>
public static class TranslationsJson
{
    /// <summary>Says what a document is.</summary>
    public const string Format = "kvmsharp-translations";

    /// <summary>Blocks of each vCPU at most.</summary>
    public const int MostBlocks = 200;

    /// <summary>Writes the document.</summary>
    /// <param name="output">Where it goes.</param>
    /// <param name="name">The guest's name.</param>
    /// <param name="vcpus">Each vCPU's number and its blocks.</param>
    public static void Write(Stream output, string name, IEnumerable<(int Vcpu, IReadOnlyList<TranslatedCode> Blocks)> vcpus)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(vcpus);
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        json.WriteStartObject();
        json.WriteString("format", Format);
        json.WriteNumber("version", 1);
        json.WriteString("name", name);
        json.WriteStartArray("blocks");
        foreach (var (vcpu, blocks) in vcpus)
        {
            foreach (var block in blocks)
                WriteBlock(json, vcpu, block);
        }

        json.WriteEndArray();
        json.WriteEndObject();
        json.Flush();
        output.WriteByte((byte)'\n');
    }

    private static void WriteBlock(Utf8JsonWriter json, int vcpu, TranslatedCode block)
    {
        json.WriteStartObject();
        json.WriteNumber("vcpu", vcpu);
        json.WriteString("rip", Hex(block.Rip));
        json.WriteString("physical", Hex(block.Physical));
        json.WriteNumber("executions", block.Executions);
        json.WriteNumber("hostBytes", block.HostBytes);
        WriteCode(json, "prologue", block.Prologue);
        json.WriteStartArray("instructions");
        foreach (var instruction in block.Instructions)
        {
            json.WriteStartObject();
            json.WriteString("rip", Hex(instruction.Rip));
            json.WriteString("bytes", Convert.ToHexStringLower(instruction.Guest.Span));
            json.WriteString("text", Disassemble(instruction.Guest, instruction.Rip) is [var (_, text), ..] ? text : "");
            json.WriteStartArray("ops");
            foreach (string op in instruction.Ops)
                json.WriteStringValue(op);
            json.WriteEndArray();
            WriteCode(json, "host", instruction.Host);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteCode(Utf8JsonWriter json, string member, ReadOnlyMemory<byte> code)
    {
        json.WriteStartArray(member);
        foreach (var (bytes, text) in Disassemble(code, 0))
        {
            json.WriteStartObject();
            json.WriteString("bytes", bytes);
            json.WriteString("text", text);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    /// <summary>Host code is placed at 0: a jump inside it shows how far it goes.</summary>
    private static List<(string Bytes, string Text)> Disassemble(ReadOnlyMemory<byte> code, ulong address)
    {
        byte[] bytes = code.ToArray();
        var decoder = Decoder.Create(64, bytes, address);
        var formatter = new NasmFormatter();
        var output = new StringOutput();
        var lines = new List<(string, string)>();
        int at = 0;
        while (at < bytes.Length)
        {
            decoder.Decode(out var instruction);
            int length = instruction.IsInvalid ? bytes.Length - at : instruction.Length;
            if (instruction.IsInvalid)
                output.Write("(bad)", FormatterTextKind.Text);
            else
                formatter.Format(instruction, output);
            lines.Add((Convert.ToHexStringLower(bytes, at, length), output.ToStringAndReset()));
            at += length;
        }

        return lines;
    }

    private static string Hex(ulong address) => string.Create(CultureInfo.InvariantCulture, $"0x{address:x}");
}
