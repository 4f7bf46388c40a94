using System.Buffers;
using System.Globalization;
using System.Text.Json;
using Kvm.Devices.Memory;
using Kvm.Vmm.Control;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Host;
using Kvm.Vmm.Tracing;
using Kvm.X86.State;

namespace Kvm.Vmm.Viewing;

/// <summary>
/// A running machine as a page shows it: what it is, where its vCPUs run, what they exit for; and, while it is made to stand still for a
/// moment, its registers and page tables. Costs nothing where nobody asks.
/// </summary>
/// <remarks>Any thread; questions wait for each other.</remarks>
public sealed class MachineView
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    private static readonly string[] s_general = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

    private static readonly string[] s_segments = ["es", "cs", "ss", "ds", "fs", "gs"];

    private readonly VirtualMachine _machine;
    private readonly RipSampler _sampler;
    private readonly ArchitecturalState _state = new();
    private readonly Lock _lock = new();
    private readonly ExitTrace _trace;
    private readonly TimeSpan[] _cpuTimes;
    private bool _stopped;

    /// <summary>Looks at a machine.</summary>
    /// <param name="machine">The machine; stays the caller's.</param>
    /// <param name="trace">The trace of its exits, whose clock is the view's too; stays the caller's.</param>
    public MachineView(VirtualMachine machine, ExitTrace trace)
    {
        ArgumentNullException.ThrowIfNull(machine);
        ArgumentNullException.ThrowIfNull(trace);
        (_machine, _trace) = (machine, trace);
        _sampler = new RipSampler(machine.Vcpus);
        _cpuTimes = new TimeSpan[machine.Vcpus.Count];
    }

    /// <summary>How many vCPUs there are.</summary>
    public int Vcpus => _machine.Vcpus.Count;

    /// <summary>Writes what the machine is: <c>name</c>, <c>engine</c>, <c>kernel</c>, <c>commandLine</c>, <c>vcpus</c>, <c>memoryBytes</c>, <c>cpus</c> of the host.</summary>
    public void WriteAbout(Utf8JsonWriter json)
    {
        ArgumentNullException.ThrowIfNull(json);
        json.WriteString("name", _machine.Config.Name);
        json.WriteString("engine", _machine.EngineName);
        json.WriteString("kernel", _machine.Config.KernelPath);
        json.WriteString("commandLine", _machine.CommandLine);
        json.WriteNumber("vcpus", Vcpus);
        json.WriteNumber("memoryBytes", _machine.Config.MemoryBytes);
        json.WriteNumber("cpus", Environment.ProcessorCount);
    }

    /// <summary>Writes the map of guest-physical addresses as an array, ascending: <c>start</c>, <c>end</c> (the byte behind), <c>kind</c> (<c>ram</c>, <c>reserved</c> or <c>device</c>), <c>name</c>.</summary>
    public void WriteMemoryMap(Utf8JsonWriter json)
    {
        ArgumentNullException.ThrowIfNull(json);
        WriteMemoryMap(json, _machine.Config);
    }

    /// <summary>As <see cref="WriteMemoryMap(Utf8JsonWriter)"/>, of any machine.</summary>
    internal static void WriteMemoryMap(Utf8JsonWriter json, VmConfig machine)
    {
        var layout = new MachineLayout(machine.MemoryBytes);
        List<(AddressRange Range, string Kind, string Name)> map =
        [
            .. layout.MemoryMap.Select(entry => (entry.Range, entry.Kind == MemoryKind.Ram ? "ram" : "reserved", NameOf(entry))),
            (MachineLayout.PciMmio32, "device", "PCI registers"),
            (new AddressRange(MachineLayout.IoApic, 4096), "device", "I/O APIC"),
            (new AddressRange(MachineLayout.Hpet, 4096), "device", "HPET"),
            (MachineLayout.VirtioMmio, "device", "virtio-mmio"),
            (new AddressRange(MachineLayout.LocalApic, 4096), "device", "local APIC"),
            (layout.PciMmio64, "device", "PCI registers, 64 bits"),
        ];
        json.WriteStartArray();
        foreach (var (range, kind, name) in map.OrderBy(part => part.Range.Start))
        {
            json.WriteStartObject();
            json.WriteString("start", Hex(range.Start));
            json.WriteString("end", Hex(range.End));
            json.WriteString("kind", kind);
            json.WriteString("name", name);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    /// <summary>Writes exits by reason, completions and hot places as one line (docs/cli.md, "stats").</summary>
    public void WriteCounts(IBufferWriter<byte> to) => StatisticsJson.Write(to, _machine, _sampler);

    /// <summary>
    /// Writes where the vCPUs are now, an object each: <c>vcpu</c>, <c>timeNs</c> since the trace began, <c>cpu</c> (the host's CPU its thread
    /// ran on last), <c>ranNs</c> (CPU time since the last call), <c>runs</c>. By one thread; also asks each vCPU for its place in the code.
    /// </summary>
    public void WriteSchedule(Utf8JsonWriter json)
    {
        ArgumentNullException.ThrowIfNull(json);
        _sampler.Tick();
        foreach (var vcpu in _machine.Vcpus)
        {
            if (ThreadInfo.Place(vcpu.ThreadId) is not var (cpu, runs))
                continue;
            var time = vcpu.CpuTime;
            json.WriteStartObject();
            json.WriteNumber("vcpu", vcpu.Index);
            json.WriteNumber("timeNs", _trace.Now);
            json.WriteNumber("cpu", cpu);
            json.WriteNumber("ranNs", (long)(time - _cpuTimes[vcpu.Index]).TotalNanoseconds);
            json.WriteBoolean("runs", runs);
            json.WriteEndObject();
            _cpuTimes[vcpu.Index] = time;
        }
    }

    /// <summary>Makes the guest stand still.</summary>
    /// <returns>Null, or why it does not.</returns>
    public string? Stop()
    {
        lock (_lock)
        {
            string? refusal = Hold();
            _stopped |= refusal is null;
            return refusal;
        }
    }

    /// <summary>Lets the guest go on.</summary>
    /// <returns>Null, or why it does not.</returns>
    public string? Continue()
    {
        lock (_lock)
        {
            if (!_stopped)
                return null;
            _stopped = false;
            return _machine.Debugger.Continue();
        }
    }

    /// <summary>Makes one vCPU of a guest that stands still do one step.</summary>
    /// <returns>Null, or why it does not.</returns>
    public string? Step(int vcpu)
    {
        lock (_lock)
        {
            if (!_stopped)
                return "the guest runs: stop it first";
            if (_machine.Debugger.Refusal(vcpu) is { } refusal)
                return refusal;
            Span<VcpuResume> orders = stackalloc VcpuResume[Vcpus];
            orders.Clear();
            orders[vcpu] = VcpuResume.Step;
            if (_machine.Debugger.Resume(orders) is { } why)
                return why;
            // A vCPU that waits for an interrupt makes its step when one comes.
            return _machine.Debugger.TryWait(s_patience, out var stop) ? Ended(stop) : Hold();
        }
    }

    /// <summary>Writes a vCPU's registers as an array of <c>name</c> and <c>value</c>; the guest stands still meanwhile.</summary>
    /// <returns>Null, or why nothing was written.</returns>
    public string? WriteRegisters(Utf8JsonWriter json, int vcpu) => Look(vcpu, () =>
    {
        json.WriteStartArray();
        Register(json, "rip", _state.Rip);
        for (int i = 0; i < s_general.Length; i++)
            Register(json, s_general[i], _state.Gpr[i]);
        Register(json, "rflags", _state.Rflags);
        foreach (var (name, value) in ((string, ulong)[])[("cr0", _state.Cr0), ("cr2", _state.Cr2), ("cr3", _state.Cr3), ("cr4", _state.Cr4), ("efer", _state.Efer)])
            Register(json, name, value);
        for (int i = 0; i < s_segments.Length; i++)
            Register(json, s_segments[i], _state.Segments[i].Selector);
        json.WriteEndArray();
    });

    /// <summary>Writes the walk of a vCPU's page tables (<see cref="GuestPaging.WriteWalk"/>); the guest stands still meanwhile.</summary>
    /// <returns>Null, or why nothing was written.</returns>
    public string? WriteWalk(Utf8JsonWriter json, int vcpu, ulong address) => Look(vcpu, () => GuestPaging.WriteWalk(json, _machine.Debugger.Memory, _state, address));

    private string? Look(int vcpu, Action write)
    {
        if ((uint)vcpu >= (uint)Vcpus)
            return $"there is no vCPU {vcpu}";
        lock (_lock)
        {
            if (!_stopped && Hold() is { } refusal)
                return refusal;
            _machine.Debugger.ReadState(vcpu, _state);
            write();
            return _stopped ? null : _machine.Debugger.Continue();
        }
    }

    private string? Hold()
    {
        if (_machine.Ended.IsCompleted)
            return GuestEnded;
        if (_machine.Vcpus[0].IsScheduled)
            return "a guest that stands still would keep the turn that --policy gives it";
        _machine.Debugger.RequestStop();
        return _machine.Debugger.TryWait(s_patience, out var stop) ? Ended(stop) : "the guest does not stop";
    }

    private const string GuestEnded = "the guest has ended";

    private static string? Ended(DebugStop stop) => stop.Reason == DebugStopReason.Ended ? GuestEnded : null;

    private static string NameOf(MemoryMapEntry entry) => entry.Kind == MemoryKind.Ram ? "memory"
        : entry.Range == MachineLayout.PciEcam ? "PCI configuration"
        : entry.Range == MachineLayout.KvmReserved ? "kept for KVM"
        : "tables and firmware";

    private static void Register(Utf8JsonWriter json, string name, ulong value)
    {
        json.WriteStartObject();
        json.WriteString("name", name);
        json.WriteString("value", Hex(value));
        json.WriteEndObject();
    }

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
