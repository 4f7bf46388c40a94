using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio;

/// <summary>
/// What all virtio devices have in common, whatever the transport (virtio 1.2, 2): feature negotiation, status, configuration space,
/// queues, reset. A device type derives from it, says what it offers and handles chains; a transport shows it as registers.
/// </summary>
/// <remarks>
/// Registers are used on vCPU threads under the control lock; queues are processed by <see cref="ProcessQueue"/> under each queue's gate,
/// on whatever thread the <see cref="IQueueScheduler"/> chooses. The control lock is taken before gates, never under one.
/// </remarks>
public abstract partial class VirtioDevice
{
    private readonly Lock _control = new();
    private readonly Lock _configLock = new();
    private readonly VirtQueue[] _queues;
    private readonly QueueRegisters[] _registers;
    private readonly byte[] _config;
    private readonly ulong _offered;
    private ulong _driverFeatures;
    private int _status;
    private uint _configGeneration;
    private bool _configChanged;
    private volatile bool _paused;
    private IVirtioInterrupts? _interrupts;
    private IQueueScheduler? _scheduler;
    private long _notifications;
    private long _interruptsSent;
    private long _breaks;

    /// <summary>Makes a device in its state after a reset.</summary>
    /// <param name="name">The state's name, such as <c>disk0</c>.</param>
    /// <param name="type">The type.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="features">Feature bits of the device type that are offered, besides <see cref="VirtioFeature.Common"/>.</param>
    /// <param name="queueSizes">For each queue the most entries it can have.</param>
    /// <param name="configSize">Bytes of the device's configuration space, 0 to 256.</param>
    protected VirtioDevice(string name, VirtioDeviceType type, GuestMemory memory, ulong features, ReadOnlySpan<int> queueSizes, int configSize)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentOutOfRangeException.ThrowIfNegative(configSize);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(configSize, MaxConfigSize);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(queueSizes.Length, MaxQueues);
        (StateName, Type, Memory, _offered) = (name, type, memory, features | VirtioFeature.Common);
        _config = new byte[configSize];
        _queues = new VirtQueue[queueSizes.Length];
        for (int i = 0; i < _queues.Length; i++)
            _queues[i] = new VirtQueue(memory, queueSizes[i]);
        _registers = new QueueRegisters[_queues.Length];
        ResetRegisters();
    }

    /// <summary>The most bytes a configuration space may have here.</summary>
    public const int MaxConfigSize = 256;

    /// <summary>The most queues a device may have here.</summary>
    public const int MaxQueues = 64;

    /// <summary>The type.</summary>
    public VirtioDeviceType Type { get; }

    /// <summary>Number of queues.</summary>
    public int QueueCount => _queues.Length;

    /// <summary>Bytes of the configuration space.</summary>
    public int ConfigSize => _config.Length;

    /// <summary>Feature bits offered.</summary>
    public ulong OfferedFeatures => _offered & ~WithheldFeatures;

    /// <summary>Feature bits not to be offered though the device has them: for tests and comparisons. Set before a guest runs.</summary>
    public ulong WithheldFeatures { get; set; }

    /// <summary>True from DRIVER_OK to a reset.</summary>
    public bool IsActive => (Status & VirtioStatus.DriverOk) != 0;

    /// <summary>True if the driver broke a ring and has to reset the device.</summary>
    public bool NeedsReset => (Status & VirtioStatus.NeedsReset) != 0;

    /// <summary>Notifications that came through registers (an ioeventfd's are not seen here).</summary>
    public long Notifications => Volatile.Read(ref _notifications);

    /// <summary>Interrupts asked of the transport.</summary>
    public long InterruptsSent => Volatile.Read(ref _interruptsSent);

    /// <summary>How often a driver broke the device so that it needed a reset.</summary>
    public long Breaks => Volatile.Read(ref _breaks);

    /// <summary>The first thing wrong with a queue since the last reset.</summary>
    public QueueFault LastFault { get; private set; }

    internal byte Status => (byte)Volatile.Read(ref _status);

    /// <summary>Guest memory.</summary>
    protected GuestMemory Memory { get; }

    /// <summary>What the driver has accepted; settled when the device is active.</summary>
    protected ulong Features => _driverFeatures;

    /// <summary>Says who runs the queues. Before a guest runs.</summary>
    public void Schedule(IQueueScheduler scheduler) => _scheduler = scheduler;

    /// <summary>Says how the driver is told. Called by the transport, once.</summary>
    internal void Connect(IVirtioInterrupts interrupts) => _interrupts = interrupts;

    // ---- Features and status ------------------------------------------------------------------------------------------

    /// <summary>32 of the offered bits.</summary>
    internal uint OfferedWord(uint select) => select < 2 ? (uint)(OfferedFeatures >> (int)select * 32 & 0xffff_ffff) : 0;

    /// <summary>32 of the accepted bits.</summary>
    internal uint AcceptedWord(uint select) => select < 2 ? (uint)(_driverFeatures >> (int)select * 32 & 0xffff_ffff) : 0;

    /// <summary>The driver accepts 32 bits; lost once FEATURES_OK is set. Bits that were never offered are kept, and make FEATURES_OK fail (2.2.2).</summary>
    internal void AcceptWord(uint select, uint bits)
    {
        if (select >= 2)
            return;
        lock (_control)
        {
            // A legacy driver settles them by DRIVER_OK.
            if ((Status & (VirtioStatus.FeaturesOk | VirtioStatus.DriverOk)) == 0)
                _driverFeatures = _driverFeatures & ~(0xffff_ffffUL << (int)select * 32) | (ulong)bits << (int)select * 32;
        }
    }

    /// <summary>True if a bit was negotiated.</summary>
    protected internal bool Has(ulong feature) => (_driverFeatures & feature) != 0;

    /// <summary>The driver writes the status (2.1): zero resets; other bits can be set, not cleared.</summary>
    internal void WriteStatus(byte value)
    {
        bool started;
        lock (_control)
        {
            if (value == 0)
            {
                Reset();
                return;
            }

            int wanted = value & VirtioStatus.DriverBits & ~Status;
            if ((wanted & VirtioStatus.FeaturesOk) != 0 && !CanAccept(_driverFeatures))
                wanted &= ~VirtioStatus.FeaturesOk;
            // 3.1.1: the driver re-reads FEATURES_OK before it goes on; one that does not gets no device.
            if (((Status | wanted) & VirtioStatus.FeaturesOk) == 0)
                wanted &= ~VirtioStatus.DriverOk;
            started = (wanted & VirtioStatus.DriverOk) != 0;
            SetStatus(wanted);
        }

        if (started)
            WakeAll();
    }

    /// <summary>Sets status bits; with DRIVER_OK the device begins to work. Under the control lock.</summary>
    private void SetStatus(int bits)
    {
        Interlocked.Or(ref _status, bits);
        if ((bits & VirtioStatus.DriverOk) == 0)
            return;
        OnActivate();
        for (int i = 0; i < _queues.Length; i++)
            StartIfEnabled(i);
    }

    /// <summary>True if the driver may have these features; a device type adds which need others.</summary>
    protected virtual bool CanAccept(ulong features) => (features & ~OfferedFeatures) == 0 && (features & VirtioFeature.Version1) != 0;

    /// <summary>The driver is ready: called once for each activation, before any queue runs, under the control lock.</summary>
    protected virtual void OnActivate()
    {
    }

    /// <summary>The device was reset and no queue runs: called under the control lock.</summary>
    protected virtual void OnReset()
    {
    }

    /// <summary>
    /// Waits until nothing of a queue is under way on the host's side, so that no byte of guest memory changes after it is stopped. Under
    /// the queue's gate. What runs under the gate anyway needs nothing here.
    /// </summary>
    /// <param name="index">The queue's number.</param>
    /// <param name="queue">The queue.</param>
    /// <param name="abandon">It is being reset: nobody wants the rest. Else chains that were taken are completed and published.</param>
    protected virtual void DrainQueue(int index, VirtQueue queue, bool abandon)
    {
    }

    private void Reset()
    {
        for (int i = 0; i < _queues.Length; i++)
            _queues[i].RequestStop();
        for (int i = 0; i < _queues.Length; i++)
            StopQueue(i, abandon: true);
        OnReset();
        ResetRegisters();
        _driverFeatures = 0;
        LastFault = QueueFault.None;
        Volatile.Write(ref _status, 0);
    }

    private void ResetRegisters()
    {
        for (int i = 0; i < _registers.Length; i++)
            _registers[i] = new QueueRegisters { Size = (ushort)_queues[i].MaxSize };
    }

    // ---- Configuration space ------------------------------------------------------------------------------------------

    /// <summary>Changes when the driver can have seen two versions of the configuration space (2.5, 4.1.4.3.1).</summary>
    internal uint ConfigGeneration
    {
        get
        {
            lock (_configLock)
                return _configGeneration;
        }
    }

    /// <summary>The driver reads configuration; zeros past the end.</summary>
    internal void ReadConfig(ulong offset, Span<byte> data)
    {
        data.Clear();
        if (offset >= (ulong)_config.Length)
            return;
        lock (_configLock)
        {
            if (_configChanged)
                (_configGeneration, _configChanged) = (_configGeneration + 1, false);
            _config.AsSpan((int)offset, Math.Min(data.Length, _config.Length - (int)offset)).CopyTo(data);
        }
    }

    /// <summary>The driver writes configuration, 1 to 8 bytes that lie in it; most fields are read-only.</summary>
    internal void WriteConfig(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset < (ulong)_config.Length && data.Length <= _config.Length - (int)offset)
            OnConfigWrite((int)offset, data);
    }

    /// <summary>The driver writes configuration: on a vCPU thread, with no lock held. What is to be kept goes to <see cref="SetConfig"/>.</summary>
    protected virtual void OnConfigWrite(int offset, ReadOnlySpan<byte> data)
    {
    }

    /// <summary>Sets bytes of the configuration space without telling the driver.</summary>
    protected void SetConfig(int offset, ReadOnlySpan<byte> data)
    {
        lock (_configLock)
        {
            data.CopyTo(_config.AsSpan(offset));
            _configChanged = true;
        }
    }

    /// <summary>Copies bytes of the configuration space.</summary>
    protected void GetConfig(int offset, Span<byte> data)
    {
        lock (_configLock)
            _config.AsSpan(offset, data.Length).CopyTo(data);
    }

    /// <summary>Tells an active driver that the configuration changed.</summary>
    protected void SignalConfig()
    {
        if (!IsActive)
            return;
        Interlocked.Increment(ref _interruptsSent);
        _interrupts?.SignalConfig();
    }

    /// <summary>Marks the device as broken by its driver: no queue is processed until it is reset (2.1.2). Any thread, under gates too.</summary>
    protected void Break(QueueFault fault)
    {
        if ((Interlocked.Or(ref _status, VirtioStatus.NeedsReset) & VirtioStatus.NeedsReset) != 0)
            return;
        LastFault = fault;
        Interlocked.Increment(ref _breaks);
        SignalConfig();
    }
}
