// Invariants: _next lies inside the writable view; every address handed out has the room asked for behind it. Code is only reset
// while none of it runs: by the thread that runs it, outside of it.
namespace Kvm.X86.Translate;

/// <summary>
/// Where translated code is kept: a bounded buffer filled from the front and emptied as a whole. First in it are the routines that
/// enter and leave translated code.
/// </summary>
internal sealed unsafe class CodeArena
{
    /// <summary>Return value of translated code below which it is a status, not the address of an <see cref="ExitRecord"/>.</summary>
    public const nint MaxStatus = 16;

    /// <summary>Status: the interpreter is to go on at the op in Cpu.HostValue.</summary>
    public const nint ToOp = 5;

    private readonly ICodeMemory _memory;
    private readonly Emitter _emitter;
    private readonly CpuField _field;
    private byte* _next;
    private byte* _first;

    public CodeArena(ICodeMemory memory, Emitter emitter, CpuField field)
    {
        _field = field;
        _memory = memory;
        _emitter = emitter;
        Reset();
    }

    /// <summary>What to add to an address in the writable view for the same byte in the other.</summary>
    public nint ToExecutable => _memory.Executable - _memory.Writable;

    /// <summary>Entry: <c>delegate* unmanaged&lt;Cpu*, nint code, nint&gt;</c>.</summary>
    public nint Enter { get; private set; }

    /// <summary>Leaves with the result in RAX; writable view.</summary>
    public byte* Leave { get; private set; }

    /// <summary>Leaves for the run loop at the RIP in RAX; writable view.</summary>
    public byte* LeaveAtRip { get; private set; }

    /// <summary>Where a block that is not translated is entered: leaves for the interpreter at the op in RDX.</summary>
    public nint Interpret { get; private set; }

    /// <summary>Bytes in use.</summary>
    public int Used => (int)(_next - (byte*)_memory.Writable);

    /// <summary>Bytes there are.</summary>
    public int Length => _memory.Length;

    /// <summary>Forgets all code and writes the common routines again.</summary>
    public void Reset()
    {
        byte* start = (byte*)_memory.Writable;
        _emitter.Start(start, start + _memory.Length);
        if (_first == null)
            WriteRoutines();
        _next = _first;
    }

    /// <summary>Begins a block; false if less than <paramref name="most"/> bytes are left.</summary>
    public bool TryBegin(int most)
    {
        byte* end = (byte*)_memory.Writable + _memory.Length;
        if (end - _next < most)
            return false;
        _emitter.Start(_next, end);
        return true;
    }

    /// <summary>Where the last block's code ends, in the executable view.</summary>
    public nint End { get; private set; }

    /// <summary>Ends the block at the emitter's place.</summary>
    public void Close()
    {
        End = (nint)_emitter.At + ToExecutable;
        _emitter.Align(16);
        _next = _emitter.At;
    }

    private void WriteRoutines()
    {
        var e = _emitter;
        Enter = (nint)e.At + ToExecutable;
        ReadOnlySpan<int> saved = [Host.Rbx, Host.Rbp, Host.R12, Host.R13, Host.R14, Host.R15];
        foreach (int register in saved)
            e.Push(register);
        e.RegMem(8, Opcode.Lea, Host.Rbx, new HostMemory(Host.Rdi, CpuField.Bias));
        e.RegReg(8, Opcode.MovStore, Host.Rsi, Host.Rax);
        for (int n = 0; n < 16; n++)
        {
            if (HostRegisters.Find(n) is >= 0 and var register)
                e.RegMem(8, Opcode.MovLoad, register, CpuField.Slot(n));
        }

        e.JmpRegister(Host.Rax);
        e.Align(16);
        LeaveAtRip = e.At;
        e.RegMem(8, Opcode.MovStore, Host.Rax, _field.Rip);
        e.RegReg(4, Opcode.AluStore + 48, Host.Rax, Host.Rax);
        byte* leave = e.JmpShort();
        Interpret = (nint)e.At + ToExecutable;
        e.RegMem(8, Opcode.MovStore, Host.Rdx, _field.HostValue);
        e.MovConstant(Host.Rax, ToOp);
        e.PatchShort(leave);
        Leave = e.At;
        for (int n = 0; n < 16; n++)
        {
            if (HostRegisters.Find(n) is >= 0 and var register)
                e.RegMem(8, Opcode.MovStore, register, CpuField.Slot(n));
        }

        for (int n = saved.Length - 1; n >= 0; n--)
            e.Pop(saved[n]);
        e.Ret();
        e.Align(64);
        _first = e.At;
    }
}
