using System.Globalization;
using Iced.Intel;
using Kvm.Interop;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Completion;

/// <summary>The instruction a KVM failed on, in words.</summary>
internal static class FailedInstruction
{
    /// <summary>Mnemonic, operands, bytes and registers. Called on the vCPU's thread after the exit.</summary>
    /// <param name="vcpu">The vCPU whose last exit was an emulation failure.</param>
    /// <param name="why">Why nobody completes it.</param>
    /// <param name="kernelPath">The guest's kernel image, whose System.map names the place.</param>
    public static string Describe(KvmVcpu vcpu, string why, string kernelPath)
    {
        var bytes = vcpu.RunPage.FailedInstruction.ToArray();
        vcpu.GetRegs(out var regs);
        vcpu.GetSregs(out var sregs);
        int bitness = sregs.Cs.L != 0 ? 64 : sregs.Cs.Db != 0 ? 32 : 16;
        string place = SystemMap.Describe(kernelPath, regs.Rip) is { } symbol ? $" in {symbol}" : "";
        return RegisterDump.Describe($"KVM could not emulate {Text(bytes, bitness, regs.Rip)}{place}: {why}", state => KvmVcpuState.Save(vcpu, state));
    }

    /// <summary><c>popcnt rax,rcx (f3 48 0f b8 c1)</c>; only the bytes where they are no instruction.</summary>
    internal static string Text(byte[] bytes, int bitness, ulong rip)
    {
        if (bytes.Length == 0)
            return string.Create(CultureInfo.InvariantCulture, $"the instruction at {rip:x} (KVM did not tell its bytes)");
        var decoder = Decoder.Create(bitness, bytes, rip);
        decoder.Decode(out var instruction);
        if (instruction.IsInvalid)
            return Convert.ToHexStringLower(bytes);
        var output = new StringOutput();
        new NasmFormatter().Format(instruction, output);
        return $"{output.ToStringAndReset()} ({Convert.ToHexStringLower(bytes, 0, instruction.Length)})";
    }
}
