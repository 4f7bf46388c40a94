using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Pci;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Virtio.Transport;

/// <summary>
/// virtio over PCI (virtio 1.2, 4.1): a function whose capabilities say where the registers are in its memory, with a message for each queue
/// (MSI-X) or one wire (INTA); transitional, it has the legacy interface's ports too.
/// </summary>
/// <remarks>Safe from any thread. Register accesses take none of the PCI bus's locks, so a queue's thread never waits for a configuration access.</remarks>
public sealed partial class VirtioPci : PciFunction, IVirtioInterrupts
{
    /// <summary>The base address register with the registers; 1 has the MSI-X table, 0 is left to the legacy interface.</summary>
    public const int RegistersBar = 4;

    /// <summary>Offset of the notification area in <see cref="RegistersBar"/>; queue n is notified at n × <see cref="NotifyStride"/> in it, with 16 bits.</summary>
    public const int NotifyOffset = 0x3000;

    /// <summary>Bytes between two queues' notification addresses (the capability's <c>notify_off_multiplier</c>).</summary>
    public const int NotifyStride = 4;

    internal const int CommonOffset = 0, IsrOffset = 0x1000, DeviceOffset = 0x2000, BarSize = 0x4000;
    private const int MsixBar = 1;
    private const int LegacyBar = 0;
    private const ushort VirtioVendor = 0x1af4, FirstDeviceId = 0x1040;

    private readonly VirtioDevice _device;
    private readonly MsixTable _msix;
    private readonly InterruptStatus _interrupt;
    private readonly VirtioPciRegisters _registers;
    private readonly VirtioPciLegacy? _legacy;
    private readonly int _msixCapability;
    private readonly int _accessCapability;

    /// <summary>Makes a function for a device.</summary>
    /// <param name="device">A device that no other transport has.</param>
    /// <param name="messages">Where MSI-X messages go.</param>
    /// <param name="line">INTA, level-triggered, shared with others.</param>
    /// <param name="transitional">Drivers from before virtio 1.0 find it too.</param>
    /// <exception cref="ArgumentException">A transitional function is asked for, and legacy drivers know no such device.</exception>
    public VirtioPci(VirtioDevice device, IMsiSink messages, IInterruptLine? line, bool transitional = false)
        : base(NameOf(device), MakeConfig(device, transitional))
    {
        _device = device;
        // One for each queue and one for changes of configuration.
        _msix = new MsixTable(device.QueueCount + 1, messages);
        _interrupt = new InterruptStatus(line);
        _registers = new VirtioPciRegisters(device, _msix.Vectors, _interrupt);
        if (transitional)
        {
            _legacy = new VirtioPciLegacy(device, _registers, _msix, _interrupt);
            device.IsTransitional = true;
        }

        _msixCapability = AddMsix(Config, _msix.Vectors);
        _accessCapability = AddVirtioCapabilities(Config, device);
        device.Connect(this);
    }

    /// <summary>
    /// Raised when the registers are mapped at an address, or (null) nowhere: an ioeventfd follows them. Under the PCI bus's lock, on a
    /// vCPU thread; must not throw or use the bus.
    /// </summary>
    public event Action<ulong?>? RegistersMoved;

    /// <inheritdoc/>
    protected internal override IBusDevice? BarDevice(int index) => index switch
    {
        RegistersBar => _registers,
        MsixBar => _msix,
        LegacyBar => _legacy,
        _ => null,
    };

    /// <inheritdoc/>
    protected internal override void OnBarMapped(int index, ulong? address)
    {
        if (index == RegistersBar)
            RegistersMoved?.Invoke(address);
    }

    /// <inheritdoc/>
    void IVirtioInterrupts.SignalQueue(int queue)
    {
        if (_msix.Enabled)
            _msix.Signal(_registers.VectorOf(queue));
        else
            _interrupt.Raise(InterruptStatus.Queue);
    }

    /// <inheritdoc/>
    void IVirtioInterrupts.SignalConfig()
    {
        // 4.1.4.5.1: this bit is set whether messages are used or not; with messages the wire is masked.
        _interrupt.Raise(InterruptStatus.Config);
        if (_msix.Enabled)
            _msix.Signal(_registers.ConfigVector);
    }

    /// <inheritdoc/>
    protected override void OnConfigChanged()
    {
        int control = Config.U16(_msixCapability + 2);
        bool enabled = (control & MsixEnable) != 0;
        bool wireOff = (Config.U16(PciConfigSpace.Command) & PciConfigSpace.CommandInterruptsOff) != 0;
        _interrupt.Mask(enabled || wireOff);
        _msix.SetControl(enabled, (control & MsixFunctionMask) != 0);
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.U8(_interrupt.Reasons);
        _registers.Save(writer);
        _msix.Save(writer);
    }

    /// <inheritdoc/>
    protected override bool TryRestoreFunction(ref StateReader reader, ushort version)
    {
        byte reasons = reader.U8();
        var registers = VirtioPciRegisters.Record.Read(ref reader, _device.QueueCount);
        if (!_msix.TryRead(ref reader, out var table, out var pending) || !reader.Complete
            || (reasons & ~(InterruptStatus.Queue | InterruptStatus.Config)) != 0 || !registers.IsPossible(_msix.Vectors))
            return false;
        _registers.Apply(registers);
        _msix.Apply(table, pending);
        // Masked until the configuration space, which comes next, says what may be sent.
        _msix.SetControl(enabled: false, functionMasked: false);
        _interrupt.Restore(reasons, masked: true);
        return true;
    }

    private static string NameOf(VirtioDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        return device.StateName + "-pci";
    }
}
