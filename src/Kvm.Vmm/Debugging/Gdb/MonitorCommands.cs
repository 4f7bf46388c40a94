using System.Globalization;
using System.Text;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>gdb's <c>monitor</c>: questions about the machine that the protocol has no packets for. Answers are text for people, a line each.</summary>
internal sealed class MonitorCommands(VirtualMachine machine, Action<string>? notice)
{
    private const string Help = """
        exits               what made the vCPUs leave the guest, and instructions retired
        lapic               the local APIC of the chosen thread's vCPU
        pagetables ADDRESS  the walk of the guest's page tables for an address (hexadecimal)
        devices             the devices and what they did
        snapshot            remembers the present state under a number, in a deterministic run
        restore NUMBER      goes there; then: maintenance flush register-cache
        physical on|off     whether memory commands take guest-physical addresses
        help                this list

        """;

    private readonly ArchitecturalState _state = new();

    /// <summary>Whether gdb's memory requests are about guest-physical addresses.</summary>
    public bool PhysicalMemory { get; private set; }

    /// <summary>Tells the people at the machine, as gdb does not show all that it is told.</summary>
    public void Notice(string text) => notice?.Invoke($"gdb: {text}");

    /// <summary>Runs a command.</summary>
    /// <param name="vcpu">The vCPU of the thread that gdb looks at.</param>
    /// <param name="command">The words behind <c>monitor</c>.</param>
    public string Run(int vcpu, string command)
    {
        string[] words = command.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return words switch
        {
            [] or ["help"] => Help,
            ["exits"] => Exits(),
            ["lapic"] => Lapic(vcpu),
            ["pagetables", var address] => Walk(vcpu, address),
            ["devices"] => Devices(),
            ["snapshot"] => Snapshot(),
            ["restore", var number] => Restore(number),
            ["physical", "on"] => Physical(true),
            ["physical", "off"] => Physical(false),
            _ => $"no such command: {Printable(command)}\n{Help}",
        };
    }

    private string Physical(bool on)
    {
        PhysicalMemory = on;
        return on ? "memory is guest-physical now\n" : "memory is seen through the guest's page tables now\n";
    }

    private string Snapshot()
    {
        var debugger = machine.Debugger;
        if (!debugger.CanGoBack)
            return "this machine keeps no past: run with --engine soft --deterministic, without disks and other virtio devices\n";
        int number = debugger.TakeSnapshot();
        var (checkpoints, bytes) = debugger.HistorySize;
        return string.Create(CultureInfo.InvariantCulture, $"snapshot {number}, after {debugger.Place!.Value.Instructions} instructions; {checkpoints} checkpoints, {bytes >> 20} MiB\n");
    }

    private string Restore(string text)
    {
        if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            return $"{Printable(text)} is no number of a snapshot\n";
        return machine.Debugger.RestoreSnapshot(number) is { } refusal ? refusal + "\n" : $"at snapshot {number}; now: maintenance flush register-cache\n";
    }

    private string Exits()
    {
        var text = new StringBuilder();
        foreach (var (name, count) in machine.ExitCounts())
            text.Append(CultureInfo.InvariantCulture, $"{name,-24} {count,12}\n");
        return text.ToString();
    }

    private string Lapic(int vcpu)
    {
        Span<byte> page = stackalloc byte[X86.Interrupts.LocalApic.KvmStateSize];
        if (!machine.TryReadLapic(vcpu, page))
            return "this machine's local APIC cannot be read\n";
        var text = new StringBuilder();
        foreach (var (name, offset) in s_apic)
            text.Append(CultureInfo.InvariantCulture, $"{name,-20} {BitConverter.ToUInt32(page[offset..]):x8}\n");
        foreach (var (name, offset) in ((string, int)[])[("in service", 0x100), ("requested", 0x200)])
        {
            text.Append(CultureInfo.InvariantCulture, $"{name,-20}");
            for (int vector = 0; vector < 256; vector++)
            {
                if ((page[offset + (vector / 32 * 16) + (vector % 32 / 8)] >> (vector % 8) & 1) != 0)
                    text.Append(CultureInfo.InvariantCulture, $" {vector:x2}");
            }

            text.Append('\n');
        }

        return text.ToString();
    }

    // SDM vol. 3, table 11-1.
    private static readonly (string Name, int Offset)[] s_apic =
    [
        ("id", 0x20), ("version", 0x30), ("task priority", 0x80), ("processor priority", 0xa0), ("logical destination", 0xd0),
        ("spurious vector", 0xf0), ("error status", 0x280), ("command", 0x300), ("command, high", 0x310), ("LVT timer", 0x320),
        ("LVT LINT0", 0x350), ("LVT LINT1", 0x360), ("LVT error", 0x370), ("initial count", 0x380), ("current count", 0x390), ("divide", 0x3e0),
    ];

    private string Walk(int vcpu, string text)
    {
        string digits = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text[2..] : text;
        if (!ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong linear))
            return $"{Printable(text)} is no hexadecimal address\n";
        machine.Debugger.ReadState(vcpu, _state);
        Span<PageTableEntry> path = stackalloc PageTableEntry[PageTables.MostLevels];
        bool found = PageTables.TryTranslate(machine.Debugger.Memory, _state, linear, out ulong physical, path, out int levels);
        var answer = new StringBuilder();
        answer.Append(CultureInfo.InvariantCulture, $"CR0 {_state.Cr0:x} CR3 {_state.Cr3:x} CR4 {_state.Cr4:x} EFER {_state.Efer:x}\n");
        int top = GuestPaging.TopLevel(_state, found, path[..levels]);
        for (int level = 0; level < levels; level++)
            answer.Append(CultureInfo.InvariantCulture, $"level {top - level}: [{path[level].Address:x}] = {path[level].Value:x16} {Rights(path[level].Value)}\n");
        answer.Append(found ? string.Create(CultureInfo.InvariantCulture, $"{linear:x} is at guest-physical {physical:x}\n")
            : string.Create(CultureInfo.InvariantCulture, $"{linear:x} is not mapped\n"));
        return answer.ToString();
    }

    private static string Rights(ulong entry) => (entry & 1) == 0 ? "not present"
        : $"{((entry & 2) != 0 ? "rw" : "r-")}{((entry >> 63) != 0 ? "-" : "x")} {((entry & 4) != 0 ? "user" : "kernel")}"
            + $"{((entry & 0x20) != 0 ? " accessed" : "")}{((entry & 0x40) != 0 ? " dirty" : "")}";

    private string Devices()
    {
        var text = new StringBuilder();
        foreach (var (device, counters) in machine.DeviceCounters())
            text.Append(CultureInfo.InvariantCulture, $"{device}: {string.Join(", ", counters.Select(c => $"{c.Key} {c.Value}"))}\n");
        return text.ToString();
    }

    private static string Printable(string text) => new([.. text.Take(80).Select(c => char.IsAsciiLetterOrDigit(c) || c is ' ' or '-' or '_' ? c : '?')]);
}
