// Invariants: see Alu.cs.
using Kvm.X86.Decode;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Far branches. Direct: Disp is the offset, Reg and Rm the selector's bytes. Through memory: the offset of Imm8 bytes, then the selector.</summary>
internal static unsafe class FarHelpers
{
    public static bool JmpFar(Cpu* cpu, Op* op) =>
        FarTransfers.Jump(ref *cpu, CpuContext.From(cpu), Selector(op), (uint)op->Disp);

    public static bool CallFar(Cpu* cpu, Op* op) =>
        FarTransfers.Call(ref *cpu, CpuContext.From(cpu), Selector(op), (uint)op->Disp, op->Imm8);

    public static bool JmpFarMemory(Cpu* cpu, Op* op) =>
        TryPointer(cpu, op, out ushort selector, out ulong offset) && FarTransfers.Jump(ref *cpu, CpuContext.From(cpu), selector, offset);

    public static bool CallFarMemory(Cpu* cpu, Op* op) =>
        TryPointer(cpu, op, out ushort selector, out ulong offset)
        && FarTransfers.Call(ref *cpu, CpuContext.From(cpu), selector, offset, op->Imm8);

    private static ushort Selector(Op* op) => (ushort)(op->Reg | (op->Rm << 8));

    private static bool TryPointer(Cpu* cpu, Op* op, out ushort selector, out ulong offset)
    {
        ulong* buffer = stackalloc ulong[2];
        buffer[0] = buffer[1] = 0;
        selector = 0;
        offset = 0;
        if (!Mem.TryReadBytes(cpu, op, Ea.Of(cpu, op), (byte*)buffer, op->Imm8 + 2))
            return false;
        selector = *(ushort*)((byte*)buffer + op->Imm8);
        offset = op->Imm8 switch { 2 => *(ushort*)buffer, 4 => *(uint*)buffer, _ => *buffer };
        return true;
    }
}
