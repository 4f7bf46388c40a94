using System.Globalization;
using Kvm.Interop;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Explain;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Tracing;

/// <summary>What there is to say about an exit in all forms: names, place, instruction, what was done. Used by one thread.</summary>
internal sealed class ExitWords(SymbolTable? symbols)
{
    private readonly InstructionFinder _finder = new();

    /// <summary>The instruction's address, its text and the name of its place; the text is empty where nothing is known of it.</summary>
    public (ulong Rip, string Text, string? Symbol) Instruction(in ExitSample sample)
    {
        var (rip, text) = _finder.Find(in sample) ?? (sample.Rip, "");
        return (rip, text, symbols?.Describe(rip));
    }

    /// <summary>The exit's short name: <c>io</c>.</summary>
    public static string Reason(in ExitSample sample) => ExitNames.Of(sample.Reason);

    /// <summary>What lives at the exit's address; null where nothing is known of it or there is none.</summary>
    public static string? Device(in ExitSample sample) => sample.Size == 0 ? null : sample.Reason switch
    {
        KvmExit.Io => AddressNames.OfPort(sample.Address),
        KvmExit.Mmio => AddressNames.OfMemory(sample.Address),
        _ => AddressNames.OfMsr(sample.Address),
    };

    /// <summary>What the VMM did, in words.</summary>
    public static string Deed(in ExitSample sample, string instruction)
    {
        string done = sample.Size != 0 ? Access(in sample) : sample.Reason switch
        {
            KvmExit.InternalError when sample.GoesOn => $"completed {Mnemonic(instruction)} in software",
            KvmExit.Debug when sample.GoesOn => "handled a breakpoint of its own",
            KvmExit.Shutdown => "saw a triple fault",
            _ => sample.GoesOn ? "went on" : "saw it",
        };
        return sample.GoesOn ? done : $"{done}; the vCPU stops here";
    }

    /// <summary>The events that may be behind it; null for what no hardware has.</summary>
    public static ExitCause? Cause(in ExitSample sample) => ExitTables.CauseOfKvm((uint)sample.Reason);

    private static string Access(in ExitSample sample)
    {
        string where = sample.Reason switch
        {
            KvmExit.Io => $"port 0x{sample.Address:x}",
            KvmExit.Mmio => $"0x{sample.Address:x}",
            _ => $"MSR 0x{sample.Address:x}",
        };
        string device = Device(in sample) is { } name ? $" ({name})" : "";
        string times = sample.Count > 1 ? $", {sample.Count} times, at first" : "";
        string value = string.Create(CultureInfo.InvariantCulture, $"0x{sample.Value:x}{Character(in sample)}");
        return sample.IsWrite ? $"wrote {value} to {where}{device}{times}" : $"read {value} from {where}{device}{times}";
    }

    /// <summary>A byte that is a character, as one; whatever a terminal would obey, escaped.</summary>
    private static string Character(in ExitSample sample)
    {
        if (sample.Size != 1 || sample.Count != 1 || sample.Value is not (>= 0x20 and < 0x7f or (byte)'\n' or (byte)'\r' or (byte)'\t' or 0x1b))
            return "";
        return $" '{VisibleText.Escape(((char)sample.Value).ToString())}'";
    }

    private static string Mnemonic(string instruction) => instruction.Length == 0 ? "an instruction" : instruction.Split(' ')[0];
}
