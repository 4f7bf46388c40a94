using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Tracing;

namespace Kvm.Vmm.Tests.Tracing;

/// <summary>Exits for tests of traces.</summary>
internal static class Samples
{
    /// <summary>A write of a character to the serial port.</summary>
    public static ExitSample Serial(long number = 1, byte character = (byte)'A', ushort vcpu = 0)
    {
        var sample = new ExitSample
        {
            Number = number,
            Time = number * 1_000,
            Cost = 2_500,
            Reason = KvmExit.Io,
            Vcpu = vcpu,
            Address = 0x3f8,
            Value = character,
            Size = 1,
            Count = 1,
            IsWrite = true,
            GoesOn = true,
            Rip = 0x1000,
            Bitness = 64,
            Changed = 0b101,
        };
        sample.Registers[0] = character;
        sample.Registers[2] = 0x3f8;
        SetCode(ref sample, 0, 0xee, 0x90); // out dx,al; nop
        return sample;
    }

    public static void SetCode(ref ExitSample sample, int before, params ReadOnlySpan<byte> code)
    {
        code.CopyTo(sample.Code);
        (sample.CodeBefore, sample.CodeLength) = ((byte)before, (byte)code.Length);
    }

    /// <summary>A whole document of these exits.</summary>
    public static byte[] Document(TraceFormat format, long most, SymbolTable? symbols, params ExitSample[] samples)
    {
        using var stream = new MemoryStream();
        using var form = TraceFormats.Create(format, symbols);
        using var output = new TraceOutput(stream, most);
        form.Begin(output);
        long lost = 0;
        foreach (ref readonly var sample in samples.AsSpan())
            lost += form.Write(output, in sample) ? 0 : 1;
        form.End(output, lost);
        output.Flush();
        return stream.ToArray();
    }

    public static string Text(TraceFormat format, params ExitSample[] samples) => Encoding.UTF8.GetString(Document(format, long.MaxValue, null, samples));
}
