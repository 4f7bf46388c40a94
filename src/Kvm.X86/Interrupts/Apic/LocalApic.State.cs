using System.Buffers.Binary;
using Kvm.Devices.Snapshot;

namespace Kvm.X86.Interrupts;

/// <summary>Saved state, and the layout KVM_GET_LAPIC and KVM_SET_LAPIC use.</summary>
public sealed partial class LocalApic : IStateful
{
    /// <summary>Bytes of KVM's <c>struct kvm_lapic_state</c>: the first 1 KiB of the page.</summary>
    public const int KvmStateSize = 0x400;

    /// <inheritdoc/>
    public string StateName => $"lapic{Id}";

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <summary>
    /// Writes the registers as <c>struct kvm_lapic_state</c> has them: 32 bits each, at their offset in the page. IA32_APIC_BASE
    /// and IA32_TSC_DEADLINE are not among them. The processor is stopped.
    /// </summary>
    /// <param name="page">At least <see cref="KvmStateSize"/> bytes.</param>
    /// <param name="wideIds">True for a VM with KVM_X2APIC_API_USE_32BIT_IDS: in x2APIC mode the id is then not in bits 24–31.</param>
    public void SaveKvmState(Span<byte> page, bool wideIds = false)
    {
        page = page[..KvmStateSize];
        page.Clear();
        for (uint number = 0; number <= ApicRegister.SelfIpi; number++)
        {
            if (IsReadable(number, x2: false) && number is not (ApicRegister.EndOfInterrupt or ApicRegister.RemoteRead))
                Put(page, number, ReadRegister(number));
        }

        if (Mode == ApicMode.X2Apic && !wideIds)
            Put(page, ApicRegister.Id, Id << 24);
    }

    /// <summary>
    /// Takes registers in the layout of <see cref="SaveKvmState"/>, after IA32_APIC_BASE was set; a running count goes on from
    /// its current value. False, with nothing changed, if they are too short or another processor's. The processor is stopped.
    /// </summary>
    public bool TryLoadKvmState(ReadOnlySpan<byte> page, bool wideIds = false)
    {
        if (page.Length < KvmStateSize)
            return false;
        uint id = Get(page, ApicRegister.Id);
        uint expected = Mode == ApicMode.X2Apic && wideIds ? Id : Id << 24;
        if (id != expected)
            return false;

        LoadRegisters(page);
        lock (_timerLock)
        {
            _initialCount = Get(page, ApicRegister.InitialCount);
            _divide = Get(page, ApicRegister.DivideConfiguration) & DivideWritable;
            Disarm();
            uint left = Math.Min(Get(page, ApicRegister.CurrentCount), _initialCount);
            if (left != 0 && Timer is TimerMode.OneShot or TimerMode.Periodic)
                ArmAt(After(_tsc.Clock.Now, (ulong)left << DivideShift));
        }

        EvaluateRequests();
        EvaluateExternal();
        return true;
    }

    /// <summary>
    /// Signals that the processor has not taken yet and that <c>struct kvm_lapic_state</c> has no place for: NMI, INIT and start-up IPI, with the latter's vector.
    /// The processor is stopped.
    /// </summary>
    public (InterruptEvents Events, byte StartupVector) SignalsPending
    {
        get => (Pending & Signals, (byte)_startupVector);
        set
        {
            _startupVector = value.StartupVector;
            Interlocked.And(ref _events, ~(int)Signals);
            Interlocked.Or(ref _events, (int)(value.Events & Signals));
            if (value.Events != InterruptEvents.None)
                Target?.Notify();
        }
    }

    private const InterruptEvents Signals = InterruptEvents.Nmi | InterruptEvents.Init | InterruptEvents.Startup;

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        Span<byte> page = stackalloc byte[KvmStateSize];
        SaveKvmState(page);
        writer.U64(_base);
        writer.Bytes(page);
        writer.U64(_deadline);
        writer.U64(_tscDeadline);
        // The maskable ones follow from the requests and from the external controller's own state.
        writer.U8((byte)(Pending & ~InterruptEvents.Maskable));
        writer.U8((byte)_startupVector);
        writer.U32((uint)_errors);
        writer.Bool(_externalMessage != 0);
        writer.Bool(_lint1Line != 0);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        ulong apicBase = reader.U64();
        var page = reader.Bytes(KvmStateSize);
        ulong deadline = reader.U64();
        ulong tscDeadline = reader.U64();
        var events = (InterruptEvents)reader.U8();
        byte startup = reader.U8();
        uint errors = reader.U32();
        bool message = reader.Bool(), lint1 = reader.Bool();
        bool sound = reader.Complete && version == 1 && page.Length == KvmStateSize
            && (apicBase & ~(BaseAddress | BaseBootstrap | BaseX2 | BaseEnable)) == 0;
        if (!sound || !TryMode(apicBase, out var mode))
            return false;
        if (Get(page, ApicRegister.Id) != Id << 24)
            return false;

        SetBase(apicBase, mode);
        LoadRegisters(page);
        _startupVector = startup;
        _errors = (int)(errors & 0xff);
        _externalMessage = message ? 1 : 0;
        _lint1Line = lint1 ? 1 : 0;
        Interlocked.Exchange(ref _events, (int)(events & (InterruptEvents.Nmi | InterruptEvents.Init | InterruptEvents.Startup)));
        lock (_timerLock)
        {
            _initialCount = Get(page, ApicRegister.InitialCount);
            _divide = Get(page, ApicRegister.DivideConfiguration) & DivideWritable;
            _tscDeadline = Timer == TimerMode.TscDeadline ? tscDeadline : 0;
            bool running = Timer == TimerMode.TscDeadline ? _tscDeadline != 0 : Timer != TimerMode.Reserved && _initialCount != 0;
            ArmAt(running ? deadline : TimerQueue.Never);
        }

        EvaluateRequests();
        EvaluateExternal();
        if (Pending != InterruptEvents.None)
            Target?.Notify();
        return true;
    }

    /// <summary>Everything but the timer's counts; each register is cut to the bits it has.</summary>
    private void LoadRegisters(ReadOnlySpan<byte> page)
    {
        for (uint i = 0; i < Words; i++)
        {
            // Vectors below 16 cannot be requested.
            uint valid = i == 0 ? 0xffff_0000 : uint.MaxValue;
            _isr[i] = Get(page, ApicRegister.InService + i) & valid;
            _tmr[i] = Get(page, ApicRegister.TriggerMode + i) & valid;
            _irr[i] = Get(page, ApicRegister.InterruptRequest + i) & valid;
        }

        _taskPriority = (int)(Get(page, ApicRegister.TaskPriority) & 0xff);
        UpdateProcessorPriority();
        Volatile.Write(ref _logicalDestination, Mode == ApicMode.X2Apic ? 0 : Get(page, ApicRegister.LogicalDestination) & 0xff00_0000);
        Volatile.Write(ref _destinationFormat, Get(page, ApicRegister.DestinationFormat) | 0x0fff_ffff);
        Volatile.Write(ref _spurious, Get(page, ApicRegister.SpuriousVector) & SpuriousWritable);
        _errorStatus = Get(page, ApicRegister.ErrorStatus) & 0xff;
        _command = Get(page, ApicRegister.InterruptCommand) & CommandWritable;
        uint high = Get(page, ApicRegister.InterruptCommandHigh);
        _commandHigh = Mode == ApicMode.X2Apic ? high : high & 0xff00_0000;
        uint masked = (_spurious & SpuriousEnable) == 0 ? LvtMasked : 0;
        for (uint number = ApicRegister.LvtTimer; number <= ApicRegister.LvtError; number++)
            Volatile.Write(ref Lvt(number), (Get(page, number) & LvtWritable(number)) | masked);
    }

    private static uint Get(ReadOnlySpan<byte> page, uint number) => BinaryPrimitives.ReadUInt32LittleEndian(page[(int)(number << 4)..]);

    private static void Put(Span<byte> page, uint number, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(page[(int)(number << 4)..], value);
}
