namespace Kvm.X86.Interrupts;

/// <summary>IA32_APIC_BASE, modes and resets.</summary>
public sealed partial class LocalApic
{
    /// <summary>Where the page of registers is after power-up.</summary>
    public const ulong DefaultBase = 0xfee0_0000;

    private const ulong BaseBootstrap = 1 << 8;
    private const ulong BaseX2 = 1 << 10;
    private const ulong BaseEnable = 1 << 11;

    // Physical addresses have 52 bits at most; a page above the processor's real width is simply never accessed.
    private const ulong BaseAddress = 0x000f_ffff_ffff_f000;

    private ulong _base;
    private int _mode;

    /// <summary>IA32_APIC_BASE.</summary>
    public ulong Base => _base;

    /// <summary>True if IA32_APIC_BASE has the bootstrap processor's flag.</summary>
    public bool IsBootstrapProcessor => (_base & BaseBootstrap) != 0;

    /// <summary>Guest-physical address of the page of registers, or <see cref="ulong.MaxValue"/> if there is none now.</summary>
    public ulong Page => Mode == ApicMode.XApic ? _base & BaseAddress : ulong.MaxValue;

    /// <summary>
    /// Writes IA32_APIC_BASE; false for #GP: reserved bits, or a change of mode that is not in SDM vol. 3, figure 11-27
    /// (x2APIC is entered from xAPIC and left by disabling only).
    /// </summary>
    public bool TryWriteBase(ulong value)
    {
        if ((value & ~(BaseAddress | BaseBootstrap | BaseX2 | BaseEnable)) != 0 || !TryMode(value, out var next))
            return false;
        var current = Mode;
        bool allowed = next == current || current switch
        {
            ApicMode.Disabled => next == ApicMode.XApic,
            ApicMode.XApic => true,
            _ => next == ApicMode.Disabled,
        };
        if (!allowed)
            return false;
        SetBase(value, next);
        // Its state does not survive being disabled (SDM vol. 3, 11.4.3).
        if (next == ApicMode.Disabled && current != ApicMode.Disabled)
            Reset();
        else if (next == ApicMode.X2Apic && current == ApicMode.XApic)
            _commandHigh = 0;
        EvaluateExternal();
        return true;
    }

    /// <summary>The state after power-up (SDM vol. 3, 11.4.7.1): INIT's, with IA32_APIC_BASE at its default and nothing pending.</summary>
    public void PowerUp()
    {
        SetBase(DefaultBase | BaseEnable | (Id == 0 ? BaseBootstrap : 0), ApicMode.XApic);
        Interlocked.Exchange(ref _events, 0);
        Reset();
    }

    /// <summary>
    /// What firmware leaves behind for a kernel that is entered without any: enabled, the 8259s through LINT0 of the
    /// bootstrap processor, NMI on LINT1 ("virtual wire mode", MultiProcessor Specification 1.4, 3.6.2.2).
    /// </summary>
    public void SetVirtualWire()
    {
        WriteSpurious(SpuriousEnable | 0xff);
        WriteLvt(ApicRegister.LvtLint0, Id == 0 ? (uint)ApicDelivery.External << 8 : LvtMasked);
        WriteLvt(ApicRegister.LvtLint1, (uint)ApicDelivery.Nmi << 8);
    }

    /// <summary>One word, so that other threads see it whole.</summary>
    internal ApicMode Mode => (ApicMode)Volatile.Read(ref _mode);

    private static bool TryMode(ulong value, out ApicMode mode)
    {
        mode = (value & BaseEnable) == 0 ? ApicMode.Disabled : (value & BaseX2) != 0 ? ApicMode.X2Apic : ApicMode.XApic;
        return (value & (BaseEnable | BaseX2)) != BaseX2;
    }

    private void SetBase(ulong value, ApicMode mode)
    {
        _base = value;
        Volatile.Write(ref _mode, (int)mode);
    }

    /// <summary>INIT (SDM vol. 3, 11.4.7.3): all but id, IA32_APIC_BASE, and an INIT or start-up IPI that waits.</summary>
    private void Reset()
    {
        for (int i = 0; i < Words; i++)
        {
            Interlocked.Exchange(ref _irr[i], 0);
            Interlocked.Exchange(ref _tmr[i], 0);
            _isr[i] = 0;
        }

        _taskPriority = 0;
        Volatile.Write(ref _processorPriority, 0);
        Volatile.Write(ref _logicalDestination, 0);
        Volatile.Write(ref _destinationFormat, uint.MaxValue);
        _command = _commandHigh = _errorStatus = 0;
        Interlocked.Exchange(ref _errors, 0);
        Interlocked.Exchange(ref _externalMessage, 0);
        lock (_timerLock)
        {
            _initialCount = _divide = 0;
            Disarm();
            Volatile.Write(ref _lvtTimer, LvtMasked);
        }

        _lvtThermal = _lvtPerformance = LvtMasked;
        Volatile.Write(ref _lvtLint0, LvtMasked);
        Volatile.Write(ref _lvtLint1, LvtMasked);
        Volatile.Write(ref _lvtError, LvtMasked);
        Volatile.Write(ref _spurious, 0xff);
        Interlocked.And(ref _events, (int)(InterruptEvents.Init | InterruptEvents.Startup));
        EvaluateExternal();
    }
}
