using Iced.Intel;

namespace Kvm.X86.Decode;

/// <summary>Numbers of Iced's registers as <see cref="Op.Reg"/> has them.</summary>
internal static class RegisterNumber
{
    /// <summary>Number (byte offset for 8-bit registers) of any register an operand can be.</summary>
    public static byte Of(Register register) => register switch
    {
        >= Register.AL and <= Register.BL => (byte)((register - Register.AL) * 8),
        >= Register.AH and <= Register.BH => (byte)(((register - Register.AH) * 8) + 1),
        >= Register.SPL and <= Register.R15L => (byte)((register - Register.SPL + 4) * 8),
        >= Register.AX and <= Register.R15W => (byte)(register - Register.AX),
        >= Register.EAX and <= Register.R15D => (byte)(register - Register.EAX),
        >= Register.RAX and <= Register.R15 => (byte)(register - Register.RAX),
        >= Register.ES and <= Register.GS => (byte)(register - Register.ES),
        >= Register.XMM0 and <= Register.XMM31 => (byte)(register - Register.XMM0),
        >= Register.YMM0 and <= Register.YMM31 => (byte)(register - Register.YMM0),
        >= Register.ZMM0 and <= Register.ZMM31 => (byte)(register - Register.ZMM0),
        >= Register.K0 and <= Register.K7 => (byte)(register - Register.K0),
        >= Register.CR0 and <= Register.CR15 => (byte)(register - Register.CR0),
        >= Register.DR0 and <= Register.DR15 => (byte)(register - Register.DR0),
        >= Register.ST0 and <= Register.ST7 => (byte)(register - Register.ST0),
        >= Register.MM0 and <= Register.MM7 => (byte)(register - Register.MM0),
        _ => 0,
    };

    /// <summary>Size in bytes of a general register (8 for anything else).</summary>
    public static int SizeOf(Register register) => register switch
    {
        >= Register.AL and <= Register.R15L => 1,
        >= Register.AX and <= Register.R15W => 2,
        >= Register.EAX and <= Register.R15D => 4,
        _ => 8,
    };

    /// <summary>Slot of an address's base or index; none is the slot that is always zero.</summary>
    public static byte Slot(Register register) => register == Register.None ? (byte)State.Slots.Zero : Of(register);
}
