using System.Buffers.Binary;

namespace Kvm.X86.Interrupts;

/// <summary>Registers, through the page (xAPIC) and through MSRs (x2APIC). Processor's thread only.</summary>
public sealed partial class LocalApic
{
    private const uint SpuriousEnable = 1 << 8;
    private const uint SpuriousSuppressBroadcast = 1 << 12;
    private const uint SpuriousWritable = 0x13ff;
    private const uint LvtMasked = 1 << 16;
    private const uint LvtTimerModes = 3 << 17;

    // Version 0x14, six LVT entries, EOI broadcasts can be suppressed (SDM vol. 3, 11.4.8).
    private const uint VersionValue = 0x14 | (5 << 16) | (1 << 24);
    private const uint DivideWritable = 0b1011;

    // Vector, delivery mode, destination mode, level, trigger, shorthand; bit 12 (status) is always 0: nothing is ever in flight.
    private const uint CommandWritable = 0x000c_cfff;
    private const uint CommandReserved = 0xfff3_2000;

    private uint _logicalDestination;
    private uint _destinationFormat;
    private uint _spurious;
    private uint _lvtTimer;
    private uint _lvtThermal;
    private uint _lvtPerformance;
    private uint _lvtLint0;
    private uint _lvtLint1;
    private uint _lvtError;
    private uint _command;
    private uint _commandHigh;
    private uint _errorStatus;
    private int _errors;

    /// <summary>
    /// Reads the page. Registers are 32 bits at multiples of 16 (SDM vol. 3, 11.4.1); parts of one are given as they are,
    /// everything else reads as zero.
    /// </summary>
    public void ReadPage(uint offset, Span<byte> data)
    {
        data.Clear();
        uint within = offset & 15;
        if (offset >= 0x1000 || within >= 4)
            return;
        Span<byte> register = stackalloc byte[4];
        uint number = offset >> 4;
        if (!IsReadable(number, x2: false))
            AddError(ApicError.IllegalRegister);
        else
            BinaryPrimitives.WriteUInt32LittleEndian(register, ReadRegister(number));
        int count = Math.Min(data.Length, 4 - (int)within);
        register.Slice((int)within, count).CopyTo(data);
    }

    /// <summary>Writes the page: 32 bits at a multiple of 16 (SDM vol. 3, 11.4.1: anything else is undefined, and ignored here).</summary>
    public void WritePage(uint offset, ReadOnlySpan<byte> data)
    {
        if (offset >= 0x1000 || (offset & 15) != 0 || data.Length != 4)
            return;
        uint number = offset >> 4;
        if (IsWritable(number, x2: false))
            WriteRegister(number, BinaryPrimitives.ReadUInt32LittleEndian(data));
        else if (!IsReadable(number, x2: false))
            AddError(ApicError.IllegalRegister);
    }

    /// <summary>RDMSR of 0x800 to 0x8ff; false for #GP: not in x2APIC mode, reserved, or write-only (SDM vol. 3, 11.12.1.2 and table 11-6).</summary>
    public bool TryReadX2(uint msr, out ulong value)
    {
        uint number = msr & 0xff;
        value = 0;
        if (Mode != ApicMode.X2Apic || !IsReadable(number, x2: true))
            return false;
        value = number == ApicRegister.InterruptCommand ? _command | ((ulong)_commandHigh << 32) : ReadRegister(number);
        return true;
    }

    /// <summary>WRMSR of 0x800 to 0x8ff; false for #GP, which reserved bits raise as well.</summary>
    public bool TryWriteX2(uint msr, ulong value)
    {
        uint number = msr & 0xff;
        if (Mode != ApicMode.X2Apic || !IsWritable(number, x2: true) || (value & ReservedInX2(number)) != 0)
            return false;
        switch (number)
        {
            case ApicRegister.InterruptCommand:
                _commandHigh = (uint)(value >> 32);
                WriteRegister(number, (uint)value);
                break;
            case ApicRegister.SelfIpi:
                Command((byte)value | (1u << 18), 0);
                break;
            default:
                WriteRegister(number, (uint)value);
                break;
        }

        return true;
    }

    private static bool IsReadable(uint number, bool x2) => number switch
    {
        ApicRegister.Id or ApicRegister.Version or ApicRegister.TaskPriority or ApicRegister.ProcessorPriority
            or ApicRegister.LogicalDestination or ApicRegister.SpuriousVector => true,
        >= ApicRegister.InService and <= ApicRegister.ErrorStatus => true,
        ApicRegister.InterruptCommand => true,
        >= ApicRegister.LvtTimer and <= ApicRegister.CurrentCount => true,
        ApicRegister.DivideConfiguration => true,
        ApicRegister.ArbitrationPriority or ApicRegister.RemoteRead or ApicRegister.DestinationFormat
            or ApicRegister.InterruptCommandHigh or ApicRegister.EndOfInterrupt => !x2,
        _ => false,
    };

    private static bool IsWritable(uint number, bool x2) => number switch
    {
        ApicRegister.TaskPriority or ApicRegister.EndOfInterrupt or ApicRegister.SpuriousVector or ApicRegister.ErrorStatus
            or ApicRegister.InterruptCommand or ApicRegister.InitialCount or ApicRegister.DivideConfiguration => true,
        >= ApicRegister.LvtTimer and <= ApicRegister.LvtError => true,
        ApicRegister.LogicalDestination or ApicRegister.DestinationFormat or ApicRegister.InterruptCommandHigh => !x2,
        ApicRegister.SelfIpi => x2,
        _ => false,
    };

    private static ulong ReservedInX2(uint number) => number switch
    {
        ApicRegister.TaskPriority or ApicRegister.SelfIpi => ~0xffUL,
        ApicRegister.EndOfInterrupt or ApicRegister.ErrorStatus => ulong.MaxValue,
        ApicRegister.SpuriousVector => ~(ulong)SpuriousWritable,
        ApicRegister.InterruptCommand => CommandReserved,
        ApicRegister.InitialCount => ~(ulong)uint.MaxValue,
        ApicRegister.DivideConfiguration => ~(ulong)DivideWritable,
        // Delivery status and remote IRR are read-only, not reserved: software writes back what it read.
        _ => ~(ulong)(LvtWritable(number) | (1 << 12) | (IsLint(number) ? 1u << 14 : 0)),
    };

    private static bool IsLint(uint number) => number is ApicRegister.LvtLint0 or ApicRegister.LvtLint1;

    /// <summary>The bits of an LVT entry that software sets (SDM vol. 3, figure 11-8).</summary>
    private static uint LvtWritable(uint number) => number switch
    {
        ApicRegister.LvtTimer => 0x0007_00ff,
        ApicRegister.LvtThermal or ApicRegister.LvtPerformance => 0x0001_07ff,
        ApicRegister.LvtLint0 or ApicRegister.LvtLint1 => 0x0001_a7ff,
        _ => 0x0001_00ff,
    };

    private uint ReadRegister(uint number) => number switch
    {
        ApicRegister.Id => Mode == ApicMode.X2Apic ? Id : Id << 24,
        ApicRegister.Version => VersionValue,
        ApicRegister.TaskPriority => (uint)_taskPriority,
        ApicRegister.ArbitrationPriority => ArbitrationPriority(),
        ApicRegister.ProcessorPriority => (uint)_processorPriority,
        ApicRegister.LogicalDestination => Mode == ApicMode.X2Apic ? ((Id >> 4) << 16) | (1u << (int)(Id & 15)) : _logicalDestination,
        ApicRegister.DestinationFormat => _destinationFormat,
        ApicRegister.SpuriousVector => _spurious,
        >= ApicRegister.InService and < ApicRegister.TriggerMode => _isr[number & 7],
        >= ApicRegister.TriggerMode and < ApicRegister.InterruptRequest => Volatile.Read(ref _tmr[number & 7]),
        >= ApicRegister.InterruptRequest and < ApicRegister.ErrorStatus => Volatile.Read(ref _irr[number & 7]),
        ApicRegister.ErrorStatus => _errorStatus,
        ApicRegister.InterruptCommand => _command,
        ApicRegister.InterruptCommandHigh => _commandHigh,
        >= ApicRegister.LvtTimer and <= ApicRegister.LvtError => Lvt(number),
        ApicRegister.InitialCount => _initialCount,
        ApicRegister.CurrentCount => CurrentCount(),
        ApicRegister.DivideConfiguration => _divide,
        _ => 0,
    };

    private void WriteRegister(uint number, uint value)
    {
        switch (number)
        {
            case ApicRegister.TaskPriority:
                SetTaskPriority((int)(value & 0xff));
                break;
            case ApicRegister.EndOfInterrupt:
                EndOfInterrupt();
                break;
            case ApicRegister.LogicalDestination:
                Volatile.Write(ref _logicalDestination, value & 0xff00_0000);
                break;
            case ApicRegister.DestinationFormat:
                Volatile.Write(ref _destinationFormat, value | 0x0fff_ffff);
                break;
            case ApicRegister.SpuriousVector:
                WriteSpurious(value & SpuriousWritable);
                break;
            case ApicRegister.ErrorStatus:
                _errorStatus = (uint)Interlocked.Exchange(ref _errors, 0);
                break;
            case ApicRegister.InterruptCommand:
                _command = value & CommandWritable;
                Command(_command, _commandHigh);
                break;
            case ApicRegister.InterruptCommandHigh:
                _commandHigh = value & 0xff00_0000;
                break;
            case ApicRegister.InitialCount:
                WriteInitialCount(value);
                break;
            case ApicRegister.DivideConfiguration:
                WriteDivide(value & DivideWritable);
                break;
            default:
                WriteLvt(number, value & LvtWritable(number));
                break;
        }
    }

    private ref uint Lvt(uint number)
    {
        switch (number)
        {
            case ApicRegister.LvtTimer:
                return ref _lvtTimer;
            case ApicRegister.LvtThermal:
                return ref _lvtThermal;
            case ApicRegister.LvtPerformance:
                return ref _lvtPerformance;
            case ApicRegister.LvtLint0:
                return ref _lvtLint0;
            case ApicRegister.LvtLint1:
                return ref _lvtLint1;
            default:
                return ref _lvtError;
        }
    }

    private void WriteLvt(uint number, uint value)
    {
        // While software-disabled, every entry stays masked (SDM vol. 3, 11.4.7.2).
        if ((_spurious & SpuriousEnable) == 0)
            value |= LvtMasked;
        if (number == ApicRegister.LvtTimer)
        {
            WriteLvtTimer(value);
            return;
        }

        Volatile.Write(ref Lvt(number), value);
        if (number == ApicRegister.LvtLint0)
            EvaluateExternal();
    }

    private void WriteSpurious(uint value)
    {
        Volatile.Write(ref _spurious, value);
        if ((value & SpuriousEnable) != 0)
            return;
        for (uint number = ApicRegister.LvtTimer; number <= ApicRegister.LvtError; number++)
            WriteLvt(number, Lvt(number));
    }

    /// <summary>APR (SDM vol. 3, 11.6.2.4): only software of the P6 family looks at it.</summary>
    private uint ArbitrationPriority()
    {
        int requested = Math.Max(Highest(_irr), 0) >> 4;
        int inService = Math.Max(Highest(_isr), 0) >> 4;
        int task = _taskPriority >> 4;
        return task >= requested && task > inService
            ? (uint)_taskPriority
            : (uint)(Math.Max(Math.Max(task & inService, requested), inService) << 4);
    }

    /// <summary>A write of the interrupt command register (SDM vol. 3, 11.6.1).</summary>
    private void Command(uint low, uint high)
    {
        var delivery = DeliveryOf(low);
        byte vector = (byte)low;
        bool levelTriggered = (low & (1 << 15)) != 0, asserted = (low & (1 << 14)) != 0;
        // INIT level de-assert only set arbitration ids, on processors before the Pentium 4.
        if (delivery == ApicDelivery.Init && levelTriggered && !asserted)
            return;
        if (delivery is ApicDelivery.Fixed or ApicDelivery.LowestPriority && vector < 16)
        {
            AddError(ApicError.SendIllegalVector);
            return;
        }

        uint destination = Mode == ApicMode.X2Apic ? high : ApicMessage.WidenDestination((byte)(high >> 24));
        // The trigger mode is ignored for IPIs: they are edges (SDM vol. 3, 11.6.1, "Trigger Mode").
        var message = new ApicMessage(destination, (low & (1 << 11)) != 0, delivery, vector);
        _bus.Send(this, message, (int)((low >> 18) & 3));
    }
}
