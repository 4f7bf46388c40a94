using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Pci;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// The watchdog timer of Intel's 6300ESB I/O controller hub (datasheet 300641, chapter "Watchdog Timer"), for which stock kernels have a driver: a
/// counter of two stages that the guest has to set back. Where it does not, the first stage's end shows in a status register and the second one's is
/// the watchdog's output. Safe from any thread. Nothing is allocated per access.
/// </summary>
/// <remarks>
/// The first stage's interrupt goes to the chip set's second I/O APIC or to system management mode; a machine here has neither, so its bits in the
/// configuration register are kept without effect. No driver uses them.
/// </remarks>
public sealed class Watchdog6300Esb : PciFunction, IBusDevice, IDisposable
{
    /// <summary>Intel's.</summary>
    public const ushort VendorId = 0x8086;

    /// <summary>The watchdog timer of the 6300ESB.</summary>
    public const ushort DeviceId = 0x25ab;

    /// <summary>Bytes of registers behind base address register 0.</summary>
    public const int RegisterSize = 16;

    /// <summary>The clock that the counter divides: a PCI bus's, in hertz.</summary>
    public const long Clock = 33_000_000;

    internal const int ConfigRegister = 0x60, LockRegister = 0x68;
    internal const int Preload1 = 0x0, Preload2 = 0x4, InterruptStatus = 0x8, Reload = 0xc;
    internal const ushort OutputOff = 1 << 5, FastClock = 1 << 2, InterruptType = 3;
    internal const byte Locked = 1 << 0, Enabled = 1 << 1, FreeRunning = 1 << 2;
    internal const byte InterruptActive = 1;
    internal const ushort ReloadBit = 1 << 8, TimeoutBit = 1 << 9;
    internal const byte Unlock1 = 0x80, Unlock2 = 0x86;
    private const uint PreloadMask = 0xf_ffff;

    /// <summary>Bits that a tick of the counter is above the clock: about 1 kHz, or 1 MHz.</summary>
    private const int SlowShift = 15, FastShift = 5;
    private const ulong LongestStage = (ulong)(PreloadMask + 1) << SlowShift;

    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly Action _expired;
    private readonly DeadlineTimer _timer;
    private readonly uint[] _preloads = [PreloadMask, PreloadMask];

    private ushort _config; // as in the configuration space, which is under the bus's lock
    private byte _mode;
    private int _stage; // 0: stands still
    private long _ends; // timestamp at which the stage ends
    private int _unlocked; // steps of the unlocking sequence that were made
    private bool _interruptActive;
    private bool _timedOut;
    private bool _tells; // the output is to be driven, by the timer's thread
    private long _expirations;

    /// <summary>Makes a watchdog that nobody has switched on.</summary>
    /// <param name="name">The state's name, such as <c>watchdog</c>.</param>
    /// <param name="time">The clock it counts by.</param>
    /// <param name="expired">
    /// The watchdog's output: called when the second stage has ended and the guest has not switched the output off; on a thread of the clock's,
    /// with no lock held; must not throw or block. A free-running timer calls it once, until it is enabled anew.
    /// </param>
    public Watchdog6300Esb(string name, TimeProvider time, Action expired)
        : base(name, MakeConfig())
    {
        ArgumentNullException.ThrowIfNull(time);
        ArgumentNullException.ThrowIfNull(expired);
        (_time, _expired) = (time, expired);
        _timer = new DeadlineTimer(time, OnTimer);
    }

    /// <summary>How often the second stage ended.</summary>
    public long Expirations => Volatile.Read(ref _expirations);

    /// <summary>Whether the guest has switched it on.</summary>
    public bool IsEnabled
    {
        get
        {
            lock (_lock)
                return (_mode & Enabled) != 0;
        }
    }

    /// <summary>Stops the timer. The registers stay usable.</summary>
    public void Dispose()
    {
        lock (_lock)
            _timer.Dispose();
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        if (offset >= RegisterSize)
            return;
        Span<byte> image = stackalloc byte[RegisterSize];
        lock (_lock)
        {
            WorkOut();
            BinaryPrimitives.WriteUInt32LittleEndian(image[Preload1..], _preloads[0]);
            BinaryPrimitives.WriteUInt32LittleEndian(image[Preload2..], _preloads[1]);
            BinaryPrimitives.WriteUInt32LittleEndian(image[InterruptStatus..], _interruptActive ? InterruptActive : 0u);
            BinaryPrimitives.WriteUInt32LittleEndian(image[Reload..], _timedOut ? TimeoutBit : 0u);
        }

        var rest = image[(int)offset..];
        rest[..Math.Min(rest.Length, data.Length)].CopyTo(data);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        // Registers are 4 bytes; what a write has beyond the one it begins in is lost.
        int within = (int)(offset & 3);
        if (offset >= RegisterSize || data.IsEmpty)
            return;
        uint value = 0, mask = 0;
        for (int i = 0; i < data.Length && within + i < 4; i++)
        {
            value |= (uint)data[i] << 8 * (within + i);
            mask |= 0xffu << 8 * (within + i);
        }

        lock (_lock)
        {
            WorkOut();
            WriteRegister((int)offset & ~3, value, mask);
        }
    }

    /// <inheritdoc/>
    protected internal override IBusDevice? BarDevice(int index) => index == 0 ? this : null;

    /// <inheritdoc/>
    /// <remarks>The lock bit is set once and for all, and what it locks stays.</remarks>
    protected internal override void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
        ushort before = Config.U16(LockRegister);
        Config.Write(offset, data);
        if ((before & Locked) != 0)
            Config.SetU16(LockRegister, before);
        OnConfigChanged();
    }

    /// <inheritdoc/>
    protected override void OnConfigChanged()
    {
        lock (_lock)
        {
            WorkOut();
            byte mode = (byte)Config.U16(LockRegister);
            bool begins = (mode & Enabled) != 0 && (_mode & Enabled) == 0;
            (_config, _mode) = (Config.U16(ConfigRegister), mode);
            if (begins)
                Begin(FirstStage);
            else if ((mode & Enabled) == 0)
                Stop();
        }
    }

    /// <inheritdoc/>
    protected override void SaveFunction(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
        {
            WorkOut();
            writer.U32(_preloads[0]);
            writer.U32(_preloads[1]);
            writer.U8(_mode);
            writer.U8((byte)_stage);
            writer.U8((byte)_unlocked);
            writer.U8((byte)((_interruptActive ? 1 : 0) | (_timedOut ? 2 : 0) | (_tells ? 4 : 0)));
            writer.U64(_stage == 0 ? 0 : Math.Min(LongestStage, ClocksOf(Math.Max(0, _ends - _time.GetTimestamp()))));
        }
    }

    /// <inheritdoc/>
    protected override bool TryRestoreFunction(ref StateReader reader, ushort version)
    {
        uint first = reader.U32(), second = reader.U32();
        byte mode = reader.U8(), stage = reader.U8(), unlocked = reader.U8(), flags = reader.U8();
        ulong left = reader.U64();
        bool runs = (mode & Enabled) != 0;
        if (!reader.Complete || (first | second) > PreloadMask || mode > (Locked | Enabled | FreeRunning) || stage > (runs ? 2 : 0) || unlocked > 2 || flags > 7
            || left > LongestStage)
        {
            return false;
        }

        lock (_lock)
        {
            (_preloads[0], _preloads[1]) = (first, second);
            (_mode, _stage, _unlocked) = (mode, stage, unlocked);
            (_interruptActive, _timedOut, _tells) = ((flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0);
            _ends = _time.GetTimestamp() + TimestampsOf(left);
            Arm();
        }

        return true;
    }

    private static PciConfigSpace MakeConfig()
    {
        var config = new PciConfigSpace(VendorId, DeviceId, 0x088000);
        config.SetSubsystem(VendorId, DeviceId);
        config.AddBar(0, PciBarKind.Memory32, RegisterSize);
        config.Allow(ConfigRegister, [(byte)(OutputOff | FastClock | InterruptType)]);
        config.Allow(LockRegister, [Locked | Enabled | FreeRunning]);
        return config;
    }

    // A free-running timer knows the second stage only.
    private int FirstStage => (_mode & FreeRunning) != 0 ? 2 : 1;

    private void Begin(int stage)
    {
        _stage = stage;
        _ends = _time.GetTimestamp() + StageLength(stage);
        Arm();
    }

    private void Stop()
    {
        _stage = 0;
        Arm();
    }

    private void Arm()
    {
        if (_tells)
            _timer.Arm(TimeSpan.Zero);
        else if (_stage != 0)
            _timer.Arm(TimeSpan.FromSeconds(Math.Max(0, _ends - _time.GetTimestamp()) / (double)_time.TimestampFrequency));
        else
            _timer.Disarm();
    }

    /// <summary>Zero is counted too: one more than was loaded.</summary>
    private long StageLength(int stage) => TimestampsOf(((ulong)_preloads[stage - 1] + 1) << ((_config & FastClock) != 0 ? FastShift : SlowShift));

    // At most 2^35 clocks: neither product comes near 128 bits. Rounded up, so that nothing ends early and what was saved comes back.
    private long TimestampsOf(ulong clocks) => (long)(((UInt128)clocks * (ulong)_time.TimestampFrequency + (ulong)(Clock - 1)) / (ulong)Clock);

    private ulong ClocksOf(long timestamps) => (ulong)((UInt128)(ulong)timestamps * (ulong)Clock / (ulong)_time.TimestampFrequency);

    private void OnTimer()
    {
        bool tells;
        lock (_lock)
        {
            WorkOut();
            (tells, _tells) = (_tells, false);
            Arm();
        }

        if (tells)
            _expired();
    }

    /// <summary>Brings the stages up to the present. The timer's thread drives the output: who is here may hold locks of the bus's.</summary>
    private void WorkOut()
    {
        long now = _time.GetTimestamp();
        if (_stage == 1 && now >= _ends)
        {
            _interruptActive = true;
            _stage = 2;
            _ends += StageLength(2);
            Arm();
        }

        if (_stage != 2 || now < _ends)
            return;
        _timedOut = true;
        _expirations++;
        // Driven once. What a free-running timer drives again and again would be said again and again of a guest that does not listen.
        _stage = 0;
        _tells |= (_config & OutputOff) == 0;
        Arm();
    }

    private void WriteRegister(int register, uint value, uint mask)
    {
        if (register == InterruptStatus)
        {
            _interruptActive &= (value & InterruptActive) == 0;
            return;
        }

        // Each write of another register needs the sequence of its own (datasheet, "Register Unlocking Sequence").
        int unlocked = _unlocked;
        _unlocked = 0;
        if (unlocked < 2)
        {
            if (register == Reload && value == Unlock1)
                _unlocked = 1;
            else if (register == Reload && value == Unlock2 && unlocked == 1)
                _unlocked = 2;
        }
        else if (register == Reload)
        {
            _timedOut &= (value & TimeoutBit) == 0;
            // In free-running mode nothing is to be set back; and a timer that stands still is started by enabling it.
            if ((value & ReloadBit) != 0 && (_mode & (Enabled | FreeRunning)) == Enabled)
                Begin(1);
        }
        else
        {
            ref uint preload = ref _preloads[register / 4];
            preload = (preload & ~mask | value) & PreloadMask;
        }
    }
}
