using Kvm.Devices.Interrupts;
using Kvm.Interop;

namespace Kvm.Vmm.Vcpu;

/// <summary>
/// How messages reach KVM's in-kernel local APICs: the one decision (docs/virtio.md has what was measured). Each is a call of KVM_SIGNAL_MSI; by
/// request, vectors have irqfds instead. Wires go by KVM_IRQ_LINE always: a level has two ends, and an irqfd of one has to be told by KVM
/// when the guest is done, which is a system call again.
/// </summary>
internal static class KvmMessages
{
    private const ulong Apics = 0xfee0_0000, ApicsMask = ~0xf_ffffUL;

    /// <summary>
    /// True for an address of local APICs (SDM vol. 3, 11.11.1). KVM reads the destination out of any address, without a look at the rest; on a
    /// PC what goes elsewhere is a write to memory, and devices here make none of those. Extended destinations, in the high half, are not offered.
    /// </summary>
    public static bool IsInterrupt(ulong address) => (address & ApicsMask) == Apics;

    /// <summary>Makes the sink of a machine.</summary>
    /// <param name="vm">Its virtual machine, with KVM's interrupt chips.</param>
    /// <param name="config">May ask for irqfds, for measuring (<see cref="VmConfig.Irqfds"/>).</param>
    public static KvmMsiSink Choose(KvmVm vm, VmConfig config) => new(vm, config.Irqfds ? new KvmMsiRoutes(vm) : null);
}

/// <summary>Messages to KVM's in-kernel local APICs.</summary>
/// <param name="vm">The virtual machine.</param>
/// <param name="routes">Makes routes, or null where every message goes by a call; disposed of with this object.</param>
internal sealed class KvmMsiSink(KvmVm vm, KvmMsiRoutes? routes) : IMsiSink, IDisposable
{
    /// <inheritdoc/>
    /// <remarks>What is no interrupt, or KVM does not take, is dropped.</remarks>
    public void Send(ulong address, uint data)
    {
        if (KvmMessages.IsInterrupt(address))
            vm.SignalMsi(address, data);
    }

    /// <inheritdoc/>
    public IMsiRoute? TryRoute() => routes?.TryAdd();

    public void Dispose() => routes?.Dispose();
}

/// <summary>The GSI routing table of a virtual machine: the chips' pins as KVM makes them, and after them messages with irqfds. Thread-safe.</summary>
/// <param name="vm">The virtual machine.</param>
internal sealed class KvmMsiRoutes(KvmVm vm) : IDisposable
{
    /// <summary>The most messages, each of which has a descriptor; others are sent by calls. KVM's own bound of a table is 4,096 entries.</summary>
    public const int MaxMessages = 256;

    private const int PicPins = 16, PinsOfOnePic = 8;

    private readonly Lock _lock = new();
    private readonly List<KvmIrqRoutingEntry> _table = Pins();
    private readonly List<Message> _messages = [];

    /// <summary>Makes a route for one message, or null if there are <see cref="MaxMessages"/> or the host has no descriptor for it.</summary>
    public IMsiRoute? TryAdd()
    {
        lock (_lock)
        {
            if (_messages.Count == MaxMessages)
                return null;
            try
            {
                var message = new Message(this, (uint)(MachineLayout.IoApicPins + _messages.Count));
                _messages.Add(message);
                return message;
            }
            catch (KvmException)
            {
                return null;
            }
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var message in _messages)
                message.Bell.Dispose();
            _messages.Clear();
        }
    }

    /// <summary>What KVM_CREATE_IRQCHIP routes (kvm_setup_default_irq_routing): setting a table replaces all of it.</summary>
    private static List<KvmIrqRoutingEntry> Pins()
    {
        var pins = new List<KvmIrqRoutingEntry>();
        for (uint gsi = 0; gsi < MachineLayout.IoApicPins; gsi++)
        {
            pins.Add(KvmIrqRoutingEntry.ToPin(gsi, KvmIrqchipId.Ioapic, gsi));
            if (gsi < PicPins)
                pins.Add(KvmIrqRoutingEntry.ToPin(gsi, gsi < PinsOfOnePic ? KvmIrqchipId.PicMaster : KvmIrqchipId.PicSlave, gsi % PinsOfOnePic));
        }

        return pins;
    }

    private bool TrySet(Message message, ulong address, uint data)
    {
        lock (_lock)
        {
            var entry = KvmIrqRoutingEntry.ToMsi(message.Gsi, address, data);
            int index = _table.FindIndex(e => e.Gsi == message.Gsi);
            var before = _table.ToArray();
            if (index < 0)
                _table.Add(entry);
            else
                _table[index] = entry;
            try
            {
                vm.SetGsiRouting(_table.ToArray());
                if (index < 0)
                    vm.Irqfd(message.Bell, message.Gsi);
                return true;
            }
            catch (KvmException)
            {
                // A message this KVM does not take, or no room: the table stays as it was.
                _table.Clear();
                _table.AddRange(before);
                return false;
            }
        }
    }

    private sealed class Message(KvmMsiRoutes routes, uint gsi) : IMsiRoute
    {
        public uint Gsi => gsi;

        public EventFd Bell { get; } = new();

        public bool TrySet(ulong address, uint data) => KvmMessages.IsInterrupt(address) && routes.TrySet(this, address, data);

        public void Signal() => Bell.Signal();
    }
}
