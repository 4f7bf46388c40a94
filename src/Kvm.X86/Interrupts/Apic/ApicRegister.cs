namespace Kvm.X86.Interrupts;

/// <summary>Local APIC registers as their offset in the page divided by 16, which is also their x2APIC MSR less 0x800 (SDM vol. 3, tables 11-1 and 11-6).</summary>
internal static class ApicRegister
{
    public const uint Id = 0x02;
    public const uint Version = 0x03;
    public const uint TaskPriority = 0x08;
    public const uint ArbitrationPriority = 0x09;
    public const uint ProcessorPriority = 0x0a;
    public const uint EndOfInterrupt = 0x0b;
    public const uint RemoteRead = 0x0c;
    public const uint LogicalDestination = 0x0d;
    public const uint DestinationFormat = 0x0e;
    public const uint SpuriousVector = 0x0f;
    public const uint InService = 0x10;
    public const uint TriggerMode = 0x18;
    public const uint InterruptRequest = 0x20;
    public const uint ErrorStatus = 0x28;
    public const uint InterruptCommand = 0x30;
    public const uint InterruptCommandHigh = 0x31;
    public const uint LvtTimer = 0x32;
    public const uint LvtThermal = 0x33;
    public const uint LvtPerformance = 0x34;
    public const uint LvtLint0 = 0x35;
    public const uint LvtLint1 = 0x36;
    public const uint LvtError = 0x37;
    public const uint InitialCount = 0x38;
    public const uint CurrentCount = 0x39;
    public const uint DivideConfiguration = 0x3e;
    public const uint SelfIpi = 0x3f;
}

/// <summary>Bits of the error status register (SDM vol. 3, 11.5.3).</summary>
internal static class ApicError
{
    public const int SendIllegalVector = 1 << 5;
    public const int ReceiveIllegalVector = 1 << 6;
    public const int IllegalRegister = 1 << 7;
}

/// <summary>How a local APIC is reached, from bits 10 and 11 of IA32_APIC_BASE (SDM vol. 3, table 11-5).</summary>
internal enum ApicMode
{
    Disabled,
    XApic,
    X2Apic,
}
